"""Segmentations of 3D Slicer (.seg.nrrd): the names of their segments, and each one's value among the labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.overlaps import NamedMask, Overlay, overlay
from autoseg.imaging.remarks import Remark
from autoseg.imaging.segment_values import value_of_name, values_of_segments, values_of_structures
from autoseg.imaging.text_headers import nrrd_pairs
from autoseg.labels import Label

SUFFIX = ".seg.nrrd"
_FIELD = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer)")


@dataclass(frozen=True, kw_only=True)
class SlicerSegment:
    """A segment, and where its voxels are."""

    name: str
    value: int  # of its voxels
    layer: int  # segments that overlap lie in several


def strip_slicer_suffix(file: Path) -> str | None:
    """Return the name of a file without 3D Slicer's suffix, or None where it has another."""
    return file.name[: -len(SUFFIX)] if file.name.lower().endswith(SUFFIX) else None


def slicer_segments(file: Path) -> dict[int, SlicerSegment]:
    """Return the segments by number: their value, or where they lie in several layers their place in the header from 1.

    Returns:
        Nothing where a file describes none.

    Raises:
        VolumeError: If two of one layer have one value.
    """
    if not file.name.lower().endswith(SUFFIX) or not file.is_file():
        return {}
    fields_of: dict[int, dict[str, str]] = {}
    for key, text in nrrd_pairs(file).items():
        if field := _FIELD.fullmatch(key):
            fields_of.setdefault(int(field[1]), {})[field[2]] = text.strip()
    segments: dict[int, SlicerSegment] = {}
    for number, fields in sorted(fields_of.items()):
        text = fields.get("LabelValue", str(number + 1))  # as 3D Slicer numbers them where it does not say
        value, layer = int(text) if text.isdecimal() else -1, fields.get("Layer", "0")
        one = SlicerSegment(
            name=fields.get("Name") or f"segment {value}", value=value, layer=int(layer) if layer.isdecimal() else 0
        )
        if value < 1 or (value, one.layer) in {(other.value, other.layer) for other in segments.values()}:
            raise VolumeError(f"{file}: Segment{number}_LabelValue is {text!r}, no value of its own; export it again")
        segments[number + 1] = one
    if len({one.layer for one in segments.values()}) > 1:
        return segments
    return {one.value: one for one in segments.values()}


def slicer_names(file: Path) -> dict[int, str]:
    """Return the names of the segments by number; nothing where a file describes none.

    Raises:
        VolumeError: As `slicer_segments`.
    """
    return {number: one.name for number, one in slicer_segments(file).items()}


def is_layered(file: Path) -> bool:
    """Return whether segments of a file lie in several layers, so that their numbers are no values."""
    return len({one.layer for one in slicer_segments(file).values()}) > 1


def values_of_slicer(
    file: Path, names: Mapping[int, str], labels: Sequence[Label]
) -> tuple[dict[int, int], tuple[Remark, ...]]:
    """Return the label value of each segment, by its number; others are left out, and told.

    Raises:
        VolumeError: If no label is called as a segment; or if a segment has no label's name, but as its number the
            value of one that no segment is called as: it may be either.
    """
    known = {number: value_of_name(name, labels) for number, name in names.items()}
    unnamed = {label.value for label in labels} - {*known.values()}
    if not is_layered(file) and any(value is None and number in unnamed for number, value in known.items()):
        return values_of_segments(file, names, labels)
    return values_of_structures(file, names, labels)


def lay_segments(file: Path, layers: npt.NDArray[Any], values: Mapping[int, int]) -> Overlay:
    """Return segments laid over each other, as stored.

    Args:
        file: For messages, and the segments in its header.
        layers: Values of the segments, whole numbers from 0 (layers, Z, Y, X).
        values: Label value of each segment that counts, by its number.

    Raises:
        VolumeError: If a voxel has a value that no segment has, or segments lie in a layer that is missing.
    """
    segments = slicer_segments(file)
    if len(layers) == 1 and not is_layered(file):
        return _lay_one(file, layers[0], segments, values)
    if max(one.layer for one in segments.values()) >= len(layers):
        raise VolumeError(f"{file}: its segments lie in more layers than it holds ({len(layers)}); export it again")
    masks = (
        NamedMask(name=one.name, value=values[number], array=layers[one.layer] == one.value)
        for number, one in segments.items()
        if number in values
    )
    return overlay(masks, layers.shape[1:])


def _lay_one(
    file: Path, layer: npt.NDArray[Any], segments: Mapping[int, SlicerSegment], values: Mapping[int, int]
) -> Overlay:
    present = np.unique(layer).tolist()
    unknown = [value for value in present if value and value not in segments]
    if unknown:
        raise VolumeError(f"{file}: its voxels have the value {unknown[0]}, which no segment has; export it again")
    table = np.zeros(max(present, default=0) + 1, dtype=np.int32)
    for value in present:
        table[value] = values.get(value, 0)
    return Overlay(codes=table[layer], names={value: segments[number].name for number, value in values.items()})
