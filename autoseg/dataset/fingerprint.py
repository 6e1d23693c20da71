"""The fingerprint: a dataset in the few numbers that the planning rules need."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from autoseg.dataset.check_images import is_ct
from autoseg.dataset.facts import CaseFacts, by_organ
from autoseg.dataset.load import Dataset
from autoseg.dataset.organ_facts import OrganFacts
from autoseg.errors import DatasetError
from autoseg.labels import Label
from autoseg.plan import Counts, PlanPart, Positives

PERCENTILES = (0.5, 99.5)
LEAST_CASES = 10  # below which an organ's volumes and places say little
Bounds = Sequence[Sequence[int]]  # first voxel and the one after the last, of each axis


class ChannelFingerprint(PlanPart):
    """Intensities of one channel in the organs of all cases."""

    name: str
    ct: bool  # all images look like HU
    low: float  # percentile 0.5
    high: float  # percentile 99.5
    mean: float  # of what lies between
    std: float
    highest_percentile: float = 99.5  # at which an image may be clipped without cutting off its organs
    air: float = Field(default=0.0, ge=0, le=1)  # share of an image's voxels that are air, median; 0 where not CT


class OrganFingerprint(PlanPart):
    """Sizes of one organ over the cases that have it."""

    only_if_set = frozenset({"names"})
    value: int
    name: str
    names: tuple[str, ...] | None = None  # of structures in files, beside its own; None: there are none
    cases: int
    median_ml: float = Field(ge=0)
    median_voxels: float = Field(ge=0)
    mean_share: float = Field(ge=0, le=1)  # of the voxels of an image
    median_extent_mm: tuple[float, float, float]  # of the bounding box (Z, Y, X)
    smallest_ml: float | None = None  # of the cases that have it; None: not known
    largest_ml: float | None = None
    # of the bounding box's middle from the mean middle of all organs' (Z, Y, X), over cases that have all organs
    lowest_offset_mm: tuple[float, float, float] | None = None
    highest_offset_mm: tuple[float, float, float] | None = None


class Fingerprint(PlanPart):
    """A dataset in numbers."""

    only_if_set = frozenset({"regions", "ignored", "annotated"})
    name: str
    cases: int
    median_shape: Counts
    smallest_shape: Counts
    largest_shape: Counts
    median_spacing_mm: Positives
    smallest_spacing_mm: Positives
    largest_spacing_mm: Positives
    foreground_extent_mm: tuple[float, float, float]  # of the box around all organs (else the image), median (Z, Y, X)
    channels: tuple[ChannelFingerprint, ...]
    organs: tuple[OrganFingerprint, ...]
    partly: int = 0  # cases whose label map shows only some of the organs
    regions: tuple[tuple[int, ...], ...] | None = None  # values of the label maps within each organ; None: its own
    ignored: int | None = None  # value of voxels whose truth is not known
    annotated: float = Field(default=1.0, gt=0, le=1)  # share of an image's voxels whose truth is known, mean


def load_fingerprint(file: Path) -> Fingerprint | None:
    """Read a fingerprint; return None if it is missing or of another version."""
    try:
        return Fingerprint.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def fingerprint(dataset: Dataset, facts: Sequence[CaseFacts]) -> Fingerprint:
    """Sum up the facts of the usable cases.

    Raises:
        DatasetError: If there is no usable case.
    """
    if not facts:
        raise DatasetError(f"{dataset.root}: no usable case; see `autoseg check {dataset.root}`")
    shapes = np.array([f.grid.shape for f in facts])
    spacings = np.array([f.grid.spacing_mm for f in facts])
    return Fingerprint(
        name=dataset.name,
        cases=len(facts),
        median_shape=_counts(np.median(shapes, axis=0)),
        smallest_shape=_counts(shapes.min(axis=0)),
        largest_shape=_counts(shapes.max(axis=0)),
        median_spacing_mm=_lengths(np.median(spacings, axis=0)),
        smallest_spacing_mm=_lengths(spacings.min(axis=0)),
        largest_spacing_mm=_lengths(spacings.max(axis=0)),
        foreground_extent_mm=_foreground_extent(dataset, facts),
        channels=tuple(_channel(dataset, facts, n) for n in range(len(dataset.channels))),
        organs=_organs(dataset, facts),
        partly=len({f.case for f in facts} & {case.id for case in dataset.cases if case.labelled is not None}),
        regions=dataset.regions,
        ignored=dataset.ignored,
        annotated=float(np.mean([f.annotated for f in facts])),
    )


def middle_offsets_mm(boxes: Sequence[Bounds], spacing_mm: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return how far the middle of each box lies from the mean of all their middles, in mm, (boxes, 3).

    >>> middle_offsets_mm([((0, 2), (0, 2), (0, 2)), ((0, 2), (0, 2), (4, 6))], (1.0, 1.0, 2.0)).tolist()
    [[0.0, 0.0, -4.0], [0.0, 0.0, 4.0]]
    """
    middles = np.array(boxes, dtype=float).mean(axis=2) * np.array(spacing_mm)
    return np.asarray(middles - middles.mean(axis=0))


def _channel(dataset: Dataset, facts: Sequence[CaseFacts], number: int) -> ChannelFingerprint:
    name = dataset.channels[number]
    inside = _gathered(facts, number)
    if not len(inside):
        raise DatasetError(f"{dataset.root}: no case has any labelled voxel; correct the label maps")
    low, high = (float(p) for p in np.percentile(inside, PERCENTILES, overwrite_input=True))
    clipped = np.clip(_gathered(facts, number), low, high, out=inside)  # in order: the sum depends on it
    mean = float(clipped.mean())
    np.square(np.subtract(clipped, mean, out=inside), out=inside)
    ct = is_ct(name, [f.channels[number] for f in facts])
    return ChannelFingerprint(
        name=name,
        ct=ct,
        low=low,
        high=high if high > low else low + 1.0,
        mean=mean,
        std=math.sqrt(inside.mean()) or 1.0,
        highest_percentile=100.0 if not ct and _organs_shine(facts, number) else PERCENTILES[1],
        air=float(np.median([f.channels[number].air for f in facts])) if ct else 0.0,
    )


def _gathered(facts: Sequence[CaseFacts], number: int) -> npt.NDArray[np.float64]:
    """Return the sampled intensities of a channel, case after case."""
    samples = [f.sample[number] for f in facts]
    return np.fromiter(itertools.chain.from_iterable(samples), np.float64, sum(map(len, samples)))


def _organs_shine(facts: Sequence[CaseFacts], number: int) -> bool:
    """Return whether, in most images, most voxels of the organs are brighter than 99.5 % of the image."""
    with_organs = [f for f in facts if f.sample[number]]
    medians = [np.median(np.array(f.sample[number], dtype=np.float64)) for f in with_organs]
    above = [median > f.channels[number].percentile_99_5 for f, median in zip(with_organs, medians, strict=True)]
    return bool(np.mean(above) > 0.5)


def _organs(dataset: Dataset, facts: Sequence[CaseFacts]) -> tuple[OrganFingerprint, ...]:
    labels, cases = dataset.labels, {case.id: case for case in dataset.cases}
    values = {label.value for label in labels}
    whole = [f for f in facts if f.is_whole and {organ.value for organ in f.organs} >= values]
    offsets = []  # (cases, organs in label order, 3)
    for case in whole:
        boxes = {organ.value: organ.box for organ in case.organs}
        offsets.append(middle_offsets_mm([boxes[label.value] for label in labels], case.grid.spacing_mm))
    places = np.array(offsets) if len(labels) > 1 and len(whole) >= LEAST_CASES else None
    organs, present = [], by_organ(facts)
    for number, label in enumerate(labels):
        labelled = {f.case for f in facts if f.case not in cases or cases[f.case].shows(label.value)}
        of_labelled = [(organ, f) for f, organ in present.get(label.value, ()) if f.case in labelled]
        organs.append(_organ(label, of_labelled, len(labelled), None if places is None else places[:, number]))
    return tuple(organs)


def _organ(
    label: Label,
    present: Sequence[tuple[OrganFacts, CaseFacts]],
    labelled: int,
    offsets_mm: npt.NDArray[np.float64] | None,
) -> OrganFingerprint:
    """Sum up an organ in the cases that have it, of so many in which it is labelled if it is there."""
    whole = [organ for organ, f in present if f.is_whole]  # of the others a part of the volume is known
    extents = [[n * s for n, s in zip(organ.extent_voxels, f.grid.spacing_mm, strict=True)] for organ, f in present]
    z, y, x = (float(e) for e in np.median(extents, axis=0)) if present else (0.0, 0.0, 0.0)
    return OrganFingerprint(
        value=label.value,
        name=label.name,
        names=label.names or None,
        cases=len(present),
        median_ml=float(np.median([organ.ml / f.annotated for organ, f in present])) if present else 0.0,
        median_voxels=float(np.median([organ.voxels / f.annotated for organ, f in present])) if present else 0.0,
        mean_share=sum(o.voxels / (math.prod(f.grid.shape) * f.annotated) for o, f in present) / max(1, labelled),
        median_extent_mm=(z, y, x),
        smallest_ml=min((organ.ml for organ in whole), default=None),
        largest_ml=max((organ.ml for organ in whole), default=None),
        lowest_offset_mm=None if offsets_mm is None else _lengths(offsets_mm.min(axis=0)),
        highest_offset_mm=None if offsets_mm is None else _lengths(offsets_mm.max(axis=0)),
    )


def _foreground_extent(dataset: Dataset, facts: Sequence[CaseFacts]) -> tuple[float, float, float]:
    partly = {case.id for case in dataset.cases if case.labelled is not None}
    whole = [case for case in facts if case.organs and case.case not in partly]
    # where no case shows all organs, how far they reach is not known: all of the image
    extents = [] if whole else [case.grid.extent_mm for case in facts if case.organs]
    for case in whole:
        starts, stops = np.moveaxis(np.array([organ.box for organ in case.organs]), 2, 0)
        z, y, x = (stops.max(axis=0) - starts.min(axis=0)) * np.array(case.grid.spacing_mm)
        extents.append((float(z), float(y), float(x)))
    z, y, x = (float(e) for e in np.median(extents, axis=0)) if extents else (0.0, 0.0, 0.0)
    return z, y, x


def _counts(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[int, int, int]:
    z, y, x = (round(float(v)) for v in values)
    return z, y, x


def _lengths(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float, float]:
    z, y, x = (round(float(v), 6) for v in values)
    return z, y, x
