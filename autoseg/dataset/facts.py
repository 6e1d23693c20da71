"""The facts of one case: all that check and fingerprint need of its voxels, as numbers."""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from autoseg.dataset.organ_facts import OrganFacts, organ_facts
from autoseg.imaging.boxes import group_boxes
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import Volume
from autoseg.labels import LabelScheme

Array = npt.NDArray[Any]
Floats: TypeAlias = "array[float]"  # float32: a few bytes a number, which can be compared and sent between processes

SAMPLE = 2000  # foreground voxels whose intensities are kept of each case
MOST_SAMPLED = 2_000_000  # of all cases
MOST_VOXELS = 500_000  # intensity statistics of larger images are taken from every n-th voxel on each axis
AIR_BELOW = -900.0  # HU; air is near -1000
THUMBNAIL = 8  # blocks on each axis; enough to tell patients apart, too few to show them


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelFacts:
    """Intensities of one channel of one image."""

    low: float  # smallest
    high: float  # largest
    mean: float
    std: float
    percentile_00_5: float
    median: float
    percentile_99_5: float
    air: float  # share of voxels below AIR_BELOW
    digest: str = ""  # of the voxels, whatever the file is called, however it is compressed and of whatever type
    thumbnail: Floats = field(
        default_factory=lambda: array("f")
    )  # means of THUMBNAIL³ blocks (Z, Y, X), their mean 0 and norm 1

    @property
    def constant(self) -> bool:
        """Whether all voxels are the same."""
        return self.low == self.high

    def relative(self, value: float) -> float:
        """Return an intensity as a share of the image's own range, from 0 at its percentile 0.5 to 1 at 99.5."""
        spread = self.percentile_99_5 - self.percentile_00_5
        return (value - self.percentile_00_5) / spread if spread > 0 else 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseFacts:
    """One case in numbers, which can be sent between processes, and held for very many cases."""

    case: str
    grid: Grid  # LPS
    stored: Grid  # as in the file
    channels: tuple[ChannelFacts, ...]
    organs: tuple[OrganFacts, ...]  # those present, by value
    sample: tuple[Floats, ...]  # intensities of the same at most SAMPLE foreground voxels, one row a channel
    label_digest: str
    annotated: float = 1.0  # share of the voxels whose truth is known
    label_values: tuple[int, ...] = ()  # that the label map holds, where organs are regions

    @property
    def is_whole(self) -> bool:
        """Whether the truth of every voxel is known: else volumes, pieces and ends of the organs say little."""
        return self.annotated == 1.0

    @property
    def values(self) -> frozenset[int]:
        """Values of the organs present."""
        return frozenset(organ.value for organ in self.organs)


OrganCase = tuple[CaseFacts, OrganFacts]  # a case that has the organ, and the organ in it


def by_organ(facts: Iterable[CaseFacts]) -> dict[int, list[OrganCase]]:
    """Return for each value that occurs the cases that have it, in their order."""
    present: dict[int, list[OrganCase]] = {}
    for case in facts:
        for organ in case.organs:
            present.setdefault(organ.value, []).append((case, organ))
    return present


def sample_size(cases: int) -> int:
    """Return how many intensities are kept of each of so many cases: fewer of very many, whose sample is large anyway.

    >>> sample_size(1000), sample_size(100_000)
    (2000, 20)
    """
    return max(1, min(SAMPLE, MOST_SAMPLED // max(1, cases)))


def case_facts(case: str, image: Volume, label: Array, scheme: LabelScheme, sample: int = SAMPLE) -> CaseFacts:
    """Measure a usable case.

    Args:
        case: Its id.
        image: With an array (C, Z, Y, X), axes along LPS.
        label: (Z, Y, X) on the same grid, values of the scheme.
        scheme: Of the labels. Voxels whose truth is not known are of no organ, and not of background.
        sample: Foreground voxels whose intensities are kept at most.
    """
    annotated, highest = 1.0, max(scheme.values)
    if scheme.ignored is not None:
        unknown = label == scheme.ignored
        annotated, label = 1.0 - float(unknown.mean()), np.where(unknown, 0, label)
    organs = {organ.value: scheme.values_of(organ) for organ in sorted(scheme.labels, key=lambda organ: organ.value)}
    boxes = group_boxes(label, organs)
    return CaseFacts(
        case=case,
        grid=image.grid,
        stored=image.stored,
        channels=tuple(_channel_facts(channel) for channel in image.array),
        organs=tuple(organ_facts(v, organs[v], box, label, image) for v, box in boxes.items() if box is not None),
        sample=_sample(case, image.array, label, sample),
        label_digest=_digest(label.astype(np.min_scalar_type(highest))),
        annotated=annotated,
        label_values=tuple(np.unique(label).tolist()) if scheme.overlapping else (),
    )


def _channel_facts(channel: Array) -> ChannelFacts:
    """Measure one channel (Z, Y, X)."""
    step = max(1, math.ceil((channel.size / MOST_VOXELS) ** (1 / 3)))
    thin = np.ascontiguousarray(channel[::step, ::step, ::step])
    low, median, high = (float(p) for p in np.percentile(thin, (0.5, 50.0, 99.5)))
    return ChannelFacts(
        low=float(channel.min()),
        high=float(channel.max()),
        mean=float(thin.mean(dtype=np.float64)),
        std=float(thin.std(dtype=np.float64)),
        percentile_00_5=low,
        median=median,
        percentile_99_5=high,
        air=float((thin < AIR_BELOW).mean()),
        digest=_digest(channel),
        thumbnail=_floats(_thumbnail(channel)),
    )


def _thumbnail(channel: Array) -> npt.NDArray[np.float64]:
    """Return the means of THUMBNAIL³ blocks of a channel (Z, Y, X), flattened, less their mean, with norm 1."""
    z, y, x = (_block_weights(n) for n in channel.shape)
    rows = np.matmul(y, np.matmul(channel, x.T))  # (Z, THUMBNAIL, THUMBNAIL)
    blocks = np.tensordot(z, rows, axes=1).astype(np.float64).ravel()
    blocks -= blocks.mean()
    return np.asarray(blocks / (float(np.linalg.norm(blocks)) or 1.0))


def _block_weights(length: int) -> npt.NDArray[np.float32]:
    """Return how much each of `length` voxels counts in each of THUMBNAIL equal blocks, (THUMBNAIL, length)."""
    edges = np.linspace(0, length, THUMBNAIL + 1)
    voxels = np.arange(length)
    overlap = np.minimum(edges[1:, None], voxels + 1) - np.maximum(edges[:-1, None], voxels)
    return np.asarray(overlap.clip(0) * THUMBNAIL / length, dtype=np.float32)


def _sample(case: str, image: Array, label: Array, most: int) -> tuple[Floats, ...]:
    """Return intensities of at most `most` foreground voxels, the same for a case of this name on every run."""
    where = np.flatnonzero(label != 0)
    if len(where) > most:
        draw = np.random.default_rng(zlib.crc32(case.encode())).integers(len(where), size=most)
        where = where[draw]
    return tuple(_floats(channel.reshape(-1)[where]) for channel in image)


def _floats(numbers: npt.NDArray[np.floating[Any]]) -> Floats:
    return array("f", numbers.astype(np.float32).tobytes())


def _digest(array: Array) -> str:
    """Return a checksum; what it cannot tell apart, shape and statistics can."""
    return f"{'x'.join(map(str, array.shape))}-{zlib.crc32(np.ascontiguousarray(array).data):08x}"
