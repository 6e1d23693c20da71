"""The examination of one case: read once, measured, and checked by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.dataset.facts import SAMPLE, CaseFacts, ChannelFacts, case_facts
from autoseg.dataset.findings import Finding, Severity
from autoseg.dataset.load import Case, Dataset
from autoseg.dataset.organ_facts import OrganFacts
from autoseg.dataset.survey import names_within
from autoseg.errors import VolumeError
from autoseg.imaging.dicom_contours import remarks_on_series
from autoseg.imaging.grid import Grid, corner_distance_mm, lie_together
from autoseg.imaging.pictures import is_picture
from autoseg.imaging.volumes import SAME_PLACE_MM, Volume, read_image, read_label
from autoseg.labels import HIGHEST_VALUE
from autoseg.words import counted

__all__ = ["CaseFacts", "ChannelFacts", "Examination", "OrganFacts", "examine_case"]

Array = npt.NDArray[Any]

COLOURS, WHITE = 3, 255  # channels of a picture in colour; what programs for pictures write for 1
MANY_VALUES = 50  # unknown label values, above which the label map is rather an image
FLAT = 0.3  # share of the voxels that are as their neighbour, above which an image of label values is a label map


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """A case's facts, and what is wrong with it by itself."""

    case: str
    facts: CaseFacts | None  # None: the case cannot be used
    findings: tuple[Finding, ...]
    names: tuple[str, ...] = ()  # of the organs within the label map, where its format has names


def examine_case(case: Case, dataset: Dataset, sample: int = SAMPLE) -> Examination:
    """Read a case once and measure it.

    Never raises for bad data: what is wrong is among the findings. Holds one image and one label map, whatever the
    size of the dataset.

    Args:
        case: To examine.
        dataset: That it is of, for channels and labels; its cases are not looked at.
        sample: Foreground voxels whose intensities are kept at most.
    """
    findings = _missing_files(case)
    image = label = facts = None
    if all(file.exists() for file in case.images):
        try:
            image = read_image(case.images).as_float32()
        except VolumeError as error:
            findings.append(_unusable(case, case.images, "image", error))
    if all(file.exists() for file in case.label_files):
        try:
            of_series = [one for file in case.label_files for one in remarks_on_series(file, case.images[0])]
            label = read_label(case.label_files, None if image is None else image.grid, dataset.scheme)
            label = replace(label, remarks=(*label.remarks, *of_series))
        except VolumeError as error:
            findings.append(_unusable(case, case.label_files, "label", error))
    findings += _remarks(case, image, label)
    if image is not None:
        findings += _image_findings(case, dataset, image.array)
    if label is not None:
        findings += _value_findings(case, dataset, label.array)
    if image is not None and label is not None:
        findings += _geometry_findings(case, image.grid, label.grid)
        if not any(finding.severity == "fatal" for finding in findings):
            facts = case_facts(case.id, image, label.array, dataset.scheme, sample)
    names = names_within(case.label_files)
    return Examination(case=case.id, facts=facts, findings=tuple(findings), names=names)


def _row(case: Case, file: Path, code: str, severity: Severity, found: str, fix: str) -> Finding:
    return Finding(case=case.id, file=str(file), code=code, severity=severity, found=found, fix=fix)


def _remarks(case: Case, image: Volume | None, label: Volume | None) -> list[Finding]:
    """Return a row for each thing that the readers noticed; what both files have is said of the image only."""
    of_image = () if image is None else image.remarks
    of_label = () if label is None else label.remarks
    codes = {remark.code for remark in of_image}
    rows = [(case.images[0], remark) for remark in of_image]
    rows += [(case.label, remark) for remark in of_label if remark.code not in codes]
    return [
        _row(case, file, one.code, "warning" if one.is_doubtful else "note", one.found, one.fix) for file, one in rows
    ]


def _missing_files(case: Case) -> list[Finding]:
    missing = [
        _row(case, file, "image-missing", "fatal", "the image is not there", "add it or remove the case")
        for file in case.images
        if not file.exists()
    ]
    fix = "add it or remove the case"
    return missing + [
        _row(case, file, "label-missing", "fatal", "the label map is not there", fix)
        for file in case.label_files
        if not file.exists()
    ]


def _unusable(case: Case, files: Sequence[Path], what: str, error: VolumeError) -> Finding:
    """Return the finding that a VolumeError's text ("file: what was found; way out") makes."""
    text = str(error)
    file = next((f for f in files if text.startswith(f"{f}: ")), files[0])
    found, _, fix = text.removeprefix(f"{file}: ").rpartition("; ")
    return _row(
        case, file, f"{what}-unusable", "fatal", found or fix, fix if found else "copy or export the file again"
    )


def _image_findings(case: Case, dataset: Dataset, image: Array) -> list[Finding]:
    """Check an image (C, Z, Y, X): the number of channels, and whether one is constant or a label map."""
    expected = len(dataset.channels)
    if len(image) != expected:
        has, names = counted(len(image), "channel"), ", ".join(dataset.channels)
        found = f"the image has {has}, the dataset names {expected}: {names}"
        fix = "give every case the same channels"
        if is_picture(case.images[0]) and len(image) == COLOURS:
            fix = "it is in colour: save it in grey, or name three channels, as R, G, B"
        return [_row(case, case.images[0], "channels", "fatal", found, fix)]
    flat = [c for c, channel in enumerate(image) if channel.min() == channel.max()]
    severity: Severity = "fatal" if len(flat) == expected else "warning"
    findings = []
    for c, name in enumerate(dataset.channels):
        file = case.images[c % len(case.images)]
        if c in flat:
            found, fix = f"every voxel of {name} is {image[c].flat[0]:g}", "export the image again or remove the case"
            findings.append(_row(case, file, "image-constant", severity, found, fix))
        elif _is_label_map(image[c], dataset):
            found = f"{name} holds only label values, in flat regions: it is a label map"
            fix = "put the scan there; image and label map may have been exchanged"
            findings.append(_row(case, file, "image-is-label", "fatal" if expected == 1 else "warning", found, fix))
    return findings


def _is_label_map(channel: Array, dataset: Dataset) -> bool:
    """Return whether a channel (Z, Y, X) holds nothing but the dataset's label values, in regions of one value."""
    values = list(dataset.scheme.values)
    values += [] if dataset.ignored is None else [dataset.ignored]
    if channel.min() < 0 or channel.max() > max(values) or not np.isin(channel, values).all():
        return False
    before, after = channel[..., :-1], channel[..., 1:]
    drawn = (before != 0) | (after != 0)
    return bool(np.mean(before[drawn] == after[drawn]) > FLAT) if drawn.any() else False


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
    if lie_together(label, image):
        fix = "nothing: the image's place is used; to silence this, copy its header to the label map"
        return [_row(case, case.label, "geometry-repairable", "warning", found, fix)]
    fix = "if voxels correspond, copy the image's header to the label map; otherwise resample it to the image"
    return [_row(case, case.label, "geometry", "fatal", found, fix)]


def _value_findings(case: Case, dataset: Dataset, label: Array) -> list[Finding]:
    """Check a label map (Z, Y, X): values that the dataset does not name, or none that it does."""
    counts = _counts(label)
    background, unannotated = counts.pop(0, 0), 0 if dataset.ignored is None else counts.pop(dataset.ignored, 0)
    if unannotated and not counts and not background:
        found, fix = f"no voxel is annotated: all are {dataset.ignored}, ignore", "annotate some, or remove the case"
        return [_row(case, case.label, "label-unannotated", "fatal", found, fix)]
    unknown = {value: n for value, n in counts.items() if value not in dataset.scheme.values}
    if unknown:
        listed = ", ".join(f"{value} ({counted(n, 'voxel')})" for value, n in sorted(unknown.items())[:5])
        found = f"label values that the dataset does not name: {listed}{', …' if len(unknown) > 5 else ''}"
        if len(unknown) > MANY_VALUES:
            found += f"; {len(unknown)} such values, so it is rather an image, or was interpolated"
        fix = "correct the label map, or name them as labels"
        if set(counts) == {WHITE}:
            fix = f"it is a mask of 0 and {WHITE}: write {WHITE} as the value of its label in dataset.json"
        return [_row(case, case.label, "label-values", "fatal", found, fix)]
    against = [organ.name for organ in dataset.labels if organ.value in counts and not case.shows(organ.value)]
    if against:
        found = f"the label map has {', '.join(against)}, which the dataset does not name as labelled in this case"
        fix = "name it under labelled, or remove it from the label map"
        return [_row(case, case.label, "label-unnamed", "fatal", found, fix)]
    if not counts:
        fix = "right if the case shows no organ; otherwise segment it or remove the case"
        return [_row(case, case.label, "label-empty", "warning", "the label map holds background only", fix)]
    return []


def _counts(label: Array) -> dict[int, int]:
    """Count the voxels of each value, slice by slice to need little memory."""
    high = int(label.max())
    if label.min() < 0 or high > HIGHEST_VALUE:
        values, counts = np.unique(label, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    total = np.zeros(high + 1, dtype=np.int64)
    for part in label:
        total += np.bincount(part.ravel(), minlength=high + 1)
    return {int(value): int(total[value]) for value in np.flatnonzero(total)}
