"""One look at one case: everything that the check and the fingerprint want to know of its voxels."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.errors import VolumeError
from autoseg.grid import Grid, Triple, corner_distance_mm
from autoseg.planning.dataset import Case, Dataset
from autoseg.planning.findings import Finding, Severity
from autoseg.volumes import SAME_PLACE_MM, Volume, read_image, read_label

Array = npt.NDArray[Any]

SAMPLE = 2000  # foreground voxels whose intensities are kept of each case
MOST_VOXELS = 2_000_000  # intensity statistics of larger images are taken from every n-th voxel on each axis
AIR_BELOW = -900.0  # HU; air is near -1000


@dataclass(frozen=True, kw_only=True)
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

    @property
    def constant(self) -> bool:
        """Whether all voxels are the same."""
        return self.low == self.high


@dataclass(frozen=True, kw_only=True)
class OrganFacts:
    """One organ in one label map."""

    value: int
    voxels: int
    ml: float
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # first voxel and one past the last, (Z, Y, X)
    centroid_mm: Triple  # from the centre of the image, (Z, Y, X); along LPS, so +X is the patient's left
    at_border: bool  # reaches the first or last voxel of an axis
    islands: int  # parts that do not touch, corners counting as touching
    largest: float  # share of the voxels that the largest island has
    mean: tuple[float, ...]  # intensity, one a channel

    @property
    def extent_voxels(self) -> tuple[int, int, int]:
        """Length of the bounding box (Z, Y, X)."""
        z, y, x = (stop - start for start, stop in self.box)
        return z, y, x


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """What one case is like; numbers only, so it can be written as JSON and sent between processes."""

    case: str
    grid: Grid  # LPS
    stored: Grid  # as in the file
    channels: tuple[ChannelFacts, ...]
    organs: tuple[OrganFacts, ...]  # those present, by value
    sample: tuple[tuple[float, ...], ...]  # intensities of the same at most SAMPLE foreground voxels, one row a channel
    image_hash: str  # of the voxels, whatever the file is called and however it is compressed
    label_hash: str

    @property
    def values(self) -> frozenset[int]:
        """Values of the organs present."""
        return frozenset(organ.value for organ in self.organs)


@dataclass(frozen=True, kw_only=True)
class Examination:
    """A case's facts, and what is wrong with it by itself."""

    case: str
    facts: CaseFacts | None  # None: the case cannot be used
    findings: tuple[Finding, ...]


def examine_case(case: Case, dataset: Dataset) -> Examination:
    """Read a case once and measure it.

    Never raises for bad data: what is wrong is among the findings. Holds one image and one label map, whatever the
    size of the dataset.
    """
    findings = _missing_files(case)
    image = label = None
    if not findings:
        try:
            image = read_image(case.images)
        except VolumeError as error:
            findings.append(_unusable(case, case.images, "image", error))
        try:
            label = read_label(case.label)
        except VolumeError as error:
            findings.append(_unusable(case, (case.label,), "label", error))
    if image is not None:
        findings += _image_findings(case, dataset, image.array)
    if label is not None:
        findings += _value_findings(case, dataset, label.array)
    if image is not None and label is not None:
        findings += _geometry_findings(case, image.grid, label.grid)
        if not any(finding.severity == "fatal" for finding in findings):
            facts = _facts(case, dataset, image, label.array)
            return Examination(case=case.id, facts=facts, findings=tuple(findings))
    return Examination(case=case.id, facts=None, findings=tuple(findings))


def _row(case: Case, file: Path, code: str, severity: Severity, found: str, fix: str) -> Finding:
    return Finding(case=case.id, file=str(file), code=code, severity=severity, found=found, fix=fix)


def _missing_files(case: Case) -> list[Finding]:
    missing = [
        _row(case, file, "image-missing", "fatal", "the image is not there", "add it or remove the case")
        for file in case.images
        if not file.exists()
    ]
    if not case.label.exists():
        fix = "add it or remove the case"
        missing.append(_row(case, case.label, "label-missing", "fatal", "the label map is not there", fix))
    return missing


def _unusable(case: Case, files: Sequence[Path], what: str, error: VolumeError) -> Finding:
    """Return the finding that a VolumeError's text ("file: what was found; way out") makes."""
    text = str(error)
    file = next((f for f in files if text.startswith(f"{f}: ")), files[0])
    found, _, fix = text.removeprefix(f"{file}: ").rpartition("; ")
    return _row(
        case, file, f"{what}-unusable", "fatal", found or fix, fix if found else "copy or export the file again"
    )


def _image_findings(case: Case, dataset: Dataset, image: Array) -> list[Finding]:
    """Look at an image (C, Z, Y, X): number of channels, and whether there is anything in them."""
    wanted = len(dataset.channels)
    if len(image) != wanted:
        found = f"the image has {len(image)} channels, the dataset names {wanted}: {', '.join(dataset.channels)}"
        return [_row(case, case.images[0], "channels", "fatal", found, "give every case the same channels")]
    flat = [c for c, channel in enumerate(image) if channel.min() == channel.max()]
    severity: Severity = "fatal" if len(flat) == wanted else "warning"
    fix = "the image is empty: export it again or remove the case"
    return [
        _row(
            case,
            case.images[c % len(case.images)],
            "image-constant",
            severity,
            f"every voxel of {name} is {value:g}",
            fix,
        )
        for c, name, value in ((c, dataset.channels[c], float(image[c].flat[0])) for c in flat)
    ]


def _geometry_findings(case: Case, image: Grid, label: Grid) -> list[Finding]:
    """Compare image and label map at their corners in mm: the same place, less than half a voxel off, or elsewhere."""
    if image.shape != label.shape:
        found = f"the label map has {label.shape} voxels (Z, Y, X) along LPS, the image {image.shape}"
        return [
            _row(case, case.label, "shape", "fatal", found, "resample the label map to the image, nearest neighbour")
        ]
    apart = corner_distance_mm(image, label)
    found = f"image and label map lie {apart:.3g} mm apart at a corner, voxels of {image.spacing_mm} mm (Z, Y, X)"
    if apart <= SAME_PLACE_MM:
        return []
    if apart <= min(image.spacing_mm) / 2:
        fix = "nothing: the image's place is used; to silence this, copy its header to the label map"
        return [_row(case, case.label, "geometry-repairable", "warning", found, fix)]
    fix = "if voxels correspond, copy the image's header to the label map; otherwise resample it to the image"
    return [_row(case, case.label, "geometry", "fatal", found, fix)]


def _value_findings(case: Case, dataset: Dataset, label: Array) -> list[Finding]:
    """Look at a label map (Z, Y, X): values that the dataset does not name, or none that it does."""
    counts = _counts(label)
    counts.pop(0, None)
    unknown = {value: n for value, n in counts.items() if value not in {known.value for known in dataset.labels}}
    if unknown:
        shown = ", ".join(f"{value} ({n} voxels)" for value, n in sorted(unknown.items())[:5])
        found = f"label values that the dataset does not name: {shown}{', …' if len(unknown) > 5 else ''}"
        return [_row(case, case.label, "label-values", "fatal", found, "correct the label map, or name them as labels")]
    if not counts:
        fix = "right if the case shows no organ; otherwise segment it or remove the case"
        return [_row(case, case.label, "label-empty", "warning", "the label map holds background only", fix)]
    return []


def _counts(label: Array) -> dict[int, int]:
    """Return value to number of voxels, slice by slice to need little memory."""
    total: Counter[int] = Counter()
    for part in label:
        if part.min() == part.max() == 0:
            continue
        values, counts = np.unique(part, return_counts=True)
        total.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return dict(total)


def _facts(case: Case, dataset: Dataset, image: Volume, label: Array) -> CaseFacts:
    highest = max(known.value for known in dataset.labels)
    boxes = enumerate(ndimage.find_objects(label, max_label=highest), start=1)
    organs = (_organ_facts(value, box, label, image) for value, box in boxes if box is not None)
    return CaseFacts(
        case=case.id,
        grid=image.grid,
        stored=image.stored,
        channels=tuple(_channel_facts(channel) for channel in image.array),
        organs=tuple(organs),
        sample=_sample(case.id, image.array, label),
        image_hash=_hash(image.array),
        label_hash=_hash(label),
    )


def _channel_facts(channel: Array) -> ChannelFacts:
    """Measure one channel (Z, Y, X)."""
    step = max(1, math.ceil((channel.size / MOST_VOXELS) ** (1 / 3)))
    thin = channel[::step, ::step, ::step]
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
    )


def _organ_facts(value: int, box: tuple[slice, ...], label: Array, image: Volume) -> OrganFacts:
    mask = label[box] == value
    profiles = [np.count_nonzero(mask, axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    voxels = int(profiles[0].sum())
    inside = [float(profile @ np.arange(len(profile))) / voxels for profile in profiles]
    grid = image.grid
    z, y, x = (
        (part.start + at - (n - 1) / 2) * mm
        for part, at, n, mm in zip(box, inside, grid.shape, grid.spacing_mm, strict=True)
    )
    parts, islands = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    largest = voxels if islands == 1 else int(np.bincount(parts.ravel())[1:].max())
    spans = [(int(part.start), int(part.stop)) for part in box]
    return OrganFacts(
        value=value,
        voxels=voxels,
        ml=voxels * grid.voxel_ml,
        box=(spans[0], spans[1], spans[2]),
        centroid_mm=(z, y, x),
        at_border=any(start == 0 or stop == n for (start, stop), n in zip(spans, grid.shape, strict=True)),
        islands=int(islands),
        largest=largest / voxels,
        mean=tuple(float(channel[box][mask].mean(dtype=np.float64)) for channel in image.array),
    )


def _sample(case: str, image: Array, label: Array) -> tuple[tuple[float, ...], ...]:
    """Return intensities of foreground voxels, the same for a case of this name on every run."""
    where = np.flatnonzero(label)
    if len(where) > SAMPLE:
        draw = np.random.default_rng(zlib.crc32(case.encode())).integers(len(where), size=SAMPLE)
        where = where[draw]
    return tuple(tuple(channel.reshape(-1)[where].tolist()) for channel in image)


def _hash(array: Array) -> str:
    found = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
