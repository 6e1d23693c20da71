"""DICOM SEG: its segments by their names, laid over each other.

Binary segments, which may overlap, and label maps are read, and fractional ones, of which voxels above one half count.
Frames need not fill the image: where none lies, nothing was segmented.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.contents import require_memory
from autoseg.imaging.dicom_frames import UNUSABLE, Frame, enhanced_frames, is_dicom, odd_headers
from autoseg.imaging.dicom_stacks import ASIDE_MM, EVEN_MM, EVEN_STEP, SAME_DIRECTION, sort_by_position
from autoseg.imaging.grid import Grid
from autoseg.imaging.overlaps import Codes, NamedMask, Overlay, overlay
from autoseg.imaging.remarks import Remark
from autoseg.words import counted, shortened

SEGMENTATION, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"  # storage classes
SUFFIXES = (".seg.dcm", ".rtstruct.dcm", ".dcm")
HALF = 0.5  # share of a voxel above which a fractional segment has it; two that add up to 1 never both do


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A DICOM SEG whose voxels are still encoded."""

    file: Path
    header: Any  # a pydicom dataset
    frames: tuple[Frame, ...]
    numbers: list[int]  # of each frame's segment; 0 in a label map
    names: Mapping[int, str]  # of the segments that have frames, by number


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The segments of a DICOM SEG, laid over each other."""

    laid: Overlay  # (slices, rows, columns)
    grid: Grid  # of the slices from the first to the last with a frame
    remarks: tuple[Remark, ...]


def strip_segmentation_suffix(file: Path) -> str | None:
    """Return the name of a file without the suffix of a DICOM SEG or an RTSTRUCT, or None where it has none."""
    suffix = next((suffix for suffix in SUFFIXES if file.name.lower().endswith(suffix)), None)
    return None if suffix is None else file.name[: -len(suffix)]


def segmentation_file(path: Path) -> Path | None:
    """Return the DICOM SEG that a path means: a file, or the only one of a folder that holds nothing else of DICOM.

    Raises:
        VolumeError: If a folder holds several.
    """
    return object_file(path, (SEGMENTATION, LABEL_MAP), "DICOM SEG")


def object_file(path: Path, storages: Sequence[str], kind: str) -> Path | None:
    """Return the file of some storage classes that a path means: itself, or the only DICOM file of a folder.

    Args:
        path: File or folder.
        storages: SOP class UIDs.
        kind: What they are called in messages.

    Raises:
        VolumeError: If a folder holds several.
    """
    if path.is_file():
        return path if is_dicom(path) and _storage(path) in storages else None
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and is_dicom(file)]
    objects = [file for file in files[:2] if _storage(file) in storages]
    if len(objects) == 2:
        raise VolumeError(f"{path}: holds several {kind}; name the file of the one that is meant")
    return objects[0] if objects and len(files) == 1 else None


def is_segmentation(file: Path) -> bool:
    """Return whether a file is a DICOM SEG."""
    return is_dicom(file) and _storage(file) in (SEGMENTATION, LABEL_MAP)


def _storage(file: Path) -> str:
    import pydicom

    try:
        with odd_headers():
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=["SOPClassUID"])
    except UNUSABLE:
        return ""
    return str(header.get("SOPClassUID", ""))


def segment_names(path: Path) -> dict[int, str]:
    """Return the names of the segments by number, if a path is a DICOM SEG; else nothing.

    Raises:
        VolumeError: If it is damaged.
    """
    import pydicom

    file = segmentation_file(path)
    if file is None:
        return {}
    try:
        with odd_headers():
            return _names(pydicom.dcmread(file, stop_before_pixels=True, force=True))
    except UNUSABLE as error:
        raise VolumeError(f"{file}: its segments cannot be read ({shortened(error, 120)}); export it again") from error


def open_segments(file: Path) -> Segmentation:
    """Read a DICOM SEG, its voxels still encoded.

    Raises:
        VolumeError: If it is damaged, or has no frame.
    """
    import pydicom

    try:
        with odd_headers():
            header: Any = pydicom.dcmread(file, force=True)
            names = _names(header)
            frames = tuple(enhanced_frames(file, header))
            numbers = [0] * len(frames) if header.SOPClassUID == LABEL_MAP else _numbers(header)
    except UNUSABLE as error:
        raise VolumeError(f"{file}: its header cannot be used ({shortened(error, 120)}); export it again") from error
    if not frames:
        raise VolumeError(f"{file}: has no frame; export it again, or leave the case out")
    used = {number: name for number, name in names.items() if number in numbers or not any(numbers)}
    return Segmentation(file=file, header=header, frames=frames, numbers=numbers, names=used)


def lay_segmentation(one: Segmentation, values: Mapping[int, int], whole: Grid | None) -> Segments:
    """Return the segments of a DICOM SEG laid over each other.

    Args:
        one: To read.
        values: Label value of each segment that counts, by its number.
        whole: Grid of the image, whose slices the frames are; None: as the object says.

    Raises:
        VolumeError: If it is damaged, or its frames are no slices of one volume.
    """
    file, frames = one.file, one.frames
    grid, slices = _place(file, frames, whole)
    require_memory(file, 4.0 * math.prod(grid.shape) + len(frames) * math.prod(grid.shape[1:]))
    try:
        with odd_headers():
            voxels = np.reshape(one.header.pixel_array, (len(frames), *grid.shape[1:]))
    except (*UNUSABLE, RuntimeError) as error:
        raise VolumeError(f"{file}: its frames cannot be read ({shortened(error, 120)}); export it again") from error
    if one.header.SOPClassUID == LABEL_MAP:
        laid = Overlay(codes=_painted_labels(file, voxels, slices, {**dict.fromkeys(one.names, 0), **values}, grid))
        return Segments(laid=laid, grid=grid, remarks=())
    inside, remarks = _binary(one.header, voxels)
    return Segments(laid=overlay(_masks(one, inside, slices, values), grid.shape), grid=grid, remarks=remarks)


def _masks(
    one: Segmentation, inside: npt.NDArray[np.bool_], slices: Sequence[int], values: Mapping[int, int]
) -> Iterator[NamedMask]:
    """Yield the mask of each segment that counts, from its first slice to its last."""
    frames: dict[int, list[int]] = {number: [] for number in values}
    for frame, number in enumerate(one.numbers):
        if number in frames:
            frames[number].append(frame)
    for number, of_segment in frames.items():
        places = [slices[frame] for frame in of_segment]
        mask = np.zeros((max(places) - min(places) + 1, *inside.shape[1:]), dtype=np.bool_)
        for frame, place in zip(of_segment, places, strict=True):
            mask[place - min(places)] |= inside[frame]
        yield NamedMask(name=one.names[number], value=values[number], array=mask, start=min(places))


def _names(header: Any) -> dict[int, str]:
    """Return the names of the segments by number; a label map may describe its background, too, as 0."""
    return {
        int(segment.SegmentNumber): str(segment.get("SegmentLabel") or f"segment {segment.SegmentNumber}").strip()
        for segment in header.SegmentSequence
        if int(segment.SegmentNumber)
    }


def _numbers(header: Any) -> list[int]:
    """Return the number of the segment of each frame.

    Raises:
        AttributeError, KeyError: If a frame names none, or one that is not described.
    """
    shared = [
        group
        for group in header.get("SharedFunctionalGroupsSequence") or ()
        if "SegmentIdentificationSequence" in group
    ]
    described = _names(header)
    numbers = []
    for group in header.PerFrameFunctionalGroupsSequence:
        source = group if "SegmentIdentificationSequence" in group else (shared or [group])[0]
        number = int(source.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if number not in described:
            raise KeyError(f"a frame of segment {number}, which is not described")
        numbers.append(number)
    return numbers


def _place(file: Path, frames: Sequence[Frame], whole: Grid | None) -> tuple[Grid, list[int]]:
    """Return the grid from the first to the last slice with a frame, and the slice of each frame.

    Raises:
        VolumeError: If the frames are no slices of one volume.
    """
    turned = np.ptp([frame.orientation for frame in frames], axis=0).max()
    if turned > SAME_DIRECTION or len({frame.pixel_mm for frame in frames}) != 1:
        raise VolumeError(f"{file}: its frames differ in orientation or pixel spacing; export it on one grid")
    _, axes = sort_by_position(frames)
    positions = np.array([frame.position for frame in frames])
    along, aside = positions @ axes.normal, positions @ axes.orientation.T
    if np.ptp(aside, axis=0).max() > ASIDE_MM:
        raise VolumeError(
            f"{file}: its frames do not lie upon each other (a tilted gantry?); resample image and segments"
        )
    step, slices, first = _steps(file, along, frames[0].thickness_mm, _step_of(whole, axes.normal))
    origin = axes.positions_mm[0] + (first - float(along.min())) * axes.normal
    direction = np.column_stack((*axes.orientation, axes.normal))
    grid = Grid(
        shape=(int(slices.max()) + 1, *frames[0].size),
        spacing_mm=(step, *frames[0].pixel_mm),
        origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=tuple(float(v) for v in direction.ravel()),
    )
    return grid, [int(n) for n in slices]


def _step_of(whole: Grid | None, normal: npt.NDArray[np.float64]) -> float | None:
    """Return the spacing of an image along a normal."""
    if whole is None:
        return None
    nearest = int(np.abs(normal @ np.reshape(whole.direction, (3, 3))).argmax())
    return whole.spacing_mm[2 - nearest]


def _steps(
    file: Path, along: npt.NDArray[np.float64], declared: float | None, of_image: float | None
) -> tuple[float, npt.NDArray[np.intp], float]:
    """Return the distance of the slices, the slice of each position along the normal, and where the first one lies.

    The image's distance is taken where it fits, for slices between two frames may have none; but not where the object
    says that its own slices are farther apart.

    Raises:
        VolumeError: If no distance fits.
    """
    gaps = np.diff(np.unique(along))
    gaps = gaps[gaps > EVEN_MM]
    smallest = float(gaps.min()) if len(gaps) else None
    coarser = bool(of_image and declared and smallest and declared > 1.5 * of_image and smallest > 1.5 * of_image)
    likely = [declared, smallest] if coarser else [of_image, declared, smallest]
    for step in likely:
        if not step or not math.isfinite(step):
            continue
        slices = np.rint((along - along.min()) / step).astype(np.intp)
        off = along - along.min() - slices * step
        if np.ptp(off) / 2 <= min(EVEN_MM, EVEN_STEP * step):
            return step, slices, float(along.min() + (off.max() + off.min()) / 2)
    raise VolumeError(f"{file}: its frames are not evenly spaced, or their distance is unknown; export it again")


def _binary(header: Any, voxels: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], tuple[Remark, ...]]:
    """Return frames as masks: of fractions, the voxels above one half."""
    most = int(header.get("MaximumFractionalValue") or 1) if header.get("SegmentationType") == "FRACTIONAL" else 1
    inside = np.asarray(voxels > HALF * most)
    parts = int(np.count_nonzero(voxels) - np.count_nonzero(voxels >= most))
    if not parts:
        return inside, ()
    found = f"the DICOM SEG is fractional, {counted(parts, 'voxel')} of it between 0 and 1; those above one half count"
    fix = "nothing if the borders lie well; or export it as a binary segmentation"
    return inside, (Remark(code="segments-fractional", found=found, fix=fix),)


def _painted_labels(
    file: Path, voxels: npt.NDArray[Any], slices: Sequence[int], values: Mapping[int, int], grid: Grid
) -> Codes:
    """Return the values of a label map's frames, whose voxels are numbers of segments.

    Raises:
        VolumeError: If a voxel names a segment that is not described.
    """
    numbers = np.unique(voxels)
    unknown = [int(n) for n in numbers if n and int(n) not in values]
    if unknown:
        raise VolumeError(f"{file}: its voxels name segment {unknown[0]}, which is not described; export it again")
    table = np.zeros(int(numbers.max()) + 1, dtype=np.int32)
    for number in numbers:
        table[number] = values.get(int(number), 0)
    array: Codes = np.zeros(grid.shape, dtype=np.int32)
    for number, frame in zip(slices, voxels, strict=True):
        array[number] = np.where(frame > 0, table[frame], array[number])
    return array
