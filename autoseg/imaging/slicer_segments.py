"""Segmentations of 3D Slicer (.seg.nrrd): the names of their segments, and each one's value among the labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.named_masks import values_of_structures
from autoseg.imaging.remarks import Remark
from autoseg.imaging.segment_values import value_of_name, values_of_segments
from autoseg.imaging.text_headers import nrrd_pairs
from autoseg.labels import Label

SUFFIX = ".seg.nrrd"
_FIELD = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer)")


def slicer_names(file: Path) -> dict[int, str]:
    """Return the names of the segments by their value in the voxels; nothing where a file describes none.

    Raises:
        VolumeError: If its segments lie in several layers, as they do where they overlap, or two have one value.
    """
    if not file.name.lower().endswith(SUFFIX) or not file.is_file():
        return {}
    segments: dict[int, dict[str, str]] = {}
    for key, text in nrrd_pairs(file).items():
        if field := _FIELD.fullmatch(key):
            segments.setdefault(int(field[1]), {})[field[2]] = text.strip()
    if len({fields.get("Layer", "0") for fields in segments.values()}) > 1:
        raise VolumeError(
            f"{file}: its segments overlap, or lie in several layers, and a label map has one value a voxel; merge the "
            "layers (Segment Editor, Masking: overwrite all), or export the wanted segments"
        )
    names: dict[int, str] = {}
    for number, fields in sorted(segments.items()):
        text = fields.get("LabelValue", str(number + 1))  # as 3D Slicer numbers them where it does not say
        value = int(text) if text.isdecimal() else -1
        if value < 1 or value in names:
            raise VolumeError(f"{file}: Segment{number}_LabelValue is {text!r}, no value of its own; export it again")
        names[value] = fields.get("Name") or f"segment {value}"
    return names


def by_names(
    file: Path, array: npt.NDArray[np.int32], names: dict[int, str], labels: Sequence[Label]
) -> tuple[npt.NDArray[np.int32], tuple[Remark, ...]]:
    """Return a label map whose segments have the values of the labels that bear their names; others are left out.

    Args:
        file: For messages.
        array: Values of the segments.
        names: Of the segments by value.
        labels: Of the dataset.

    Raises:
        VolumeError: If a voxel has a value that no segment has; if no label is called as a segment; or if a segment has
            no label's name, but the value of one that no segment is called as: it may be either.
    """
    present = np.unique(array).tolist()
    unknown = [value for value in present if value and value not in names]
    if unknown:
        raise VolumeError(f"{file}: its voxels have the value {unknown[0]}, which no segment has; export it again")
    known = {value: value_of_name(name, labels) for value, name in names.items()}
    unnamed = {label.value for label in labels} - {*known.values()}
    if any(of_label is None and value in unnamed for value, of_label in known.items()):
        values, remarks = values_of_segments(file, names, labels)
    else:
        values, remarks = values_of_structures(file, names, labels)
    table = np.zeros(max(present, default=0) + 1, dtype=np.int32)
    for value in present:
        table[value] = values.get(value, 0)
    return table[array], remarks
