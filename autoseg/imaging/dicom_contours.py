"""RT Structure Sets as label maps: contours of planning systems, rasterised on the grid of the image.

A voxel belongs to a structure where its centre lies in an odd number of the slice's contours: holes may be contours of
their own, or keyholes in the outer one. Contours lie in slices of the image, whichever way these stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.dicom import list_series
from autoseg.imaging.dicom_frames import IDENTITY, UNUSABLE, odd_headers
from autoseg.imaging.dicom_segments import object_file
from autoseg.imaging.grid import Grid
from autoseg.imaging.overlaps import NamedMask, Overlay, overlay
from autoseg.imaging.polygons import voxels_inside
from autoseg.imaging.remarks import Remark
from autoseg.words import counted, shortened

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"  # storage class
CONTOUR_DATA = 0x30060050
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")  # others are points and lines, which hold no voxel
FLAT_VOXELS = 0.1  # a contour that leaves its slice by more lies in none
BETWEEN_VOXELS = 0.25  # a contour farther from the nearest slice was drawn on others
BEYOND_VOXELS = 1.0  # from the outermost centres: a contour around them ends between half a voxel and one
THOUSANDTHS = 3  # decimals of a voxel: contours through centres are on them, however they were rounded in mm
Points = npt.NDArray[Any]  # (points, 3), float


@dataclass(frozen=True, kw_only=True)
class Structure:
    """One structure (ROI) that has closed contours."""

    number: int
    name: str
    contours: tuple[Points, ...]  # patient x, y, z in mm


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The content of a structure set, and what it was drawn on."""

    structures: tuple[Structure, ...]
    drawn_on: frozenset[str]  # SeriesInstanceUIDs and SOPInstanceUIDs that it refers to
    frames: frozenset[str]  # FrameOfReferenceUIDs


def structure_file(path: Path) -> Path | None:
    """Return the RTSTRUCT that a path means: a file, or the only DICOM file of a folder; None for anything else.

    Raises:
        VolumeError: If a folder holds several.
    """
    return object_file(path, (STRUCTURE_SET,), "RTSTRUCT")


def structure_names(path: Path) -> dict[int, str]:
    """Return the names of the structures that have closed contours, by number; nothing if a path is no RTSTRUCT.

    Raises:
        VolumeError: If it is damaged.
    """
    file = structure_file(path)
    return {} if file is None else {one.number: one.name for one in read_drawing(file).structures}


def read_drawing(file: Path) -> Drawing:
    """Read an RTSTRUCT.

    Raises:
        VolumeError: If it is damaged.
    """
    import pydicom

    try:
        with odd_headers():
            header: Any = pydicom.dcmread(file, force=True)
            names = {
                int(roi.ROINumber): str(roi.get("ROIName") or "").strip() for roi in header.StructureSetROISequence
            }
            structures = []
            for item in header.get("ROIContourSequence") or ():
                number = int(item.ReferencedROINumber)
                closed = [c for c in item.get("ContourSequence") or () if c.get("ContourGeometricType") in CLOSED]
                if closed:
                    name = names.get(number) or f"structure {number}"
                    structures.append(Structure(number=number, name=name, contours=tuple(map(_points, closed))))
            drawn_on, frames = _references(header)
    except UNUSABLE as error:
        raise VolumeError(f"{file}: its contours cannot be read ({shortened(error, 120)}); export it again") from error
    return Drawing(structures=tuple(structures), drawn_on=drawn_on, frames=frames)


def _points(contour: Any) -> Points:
    """Return the points of a contour.

    Raises:
        ValueError: If they are no numbers, or not three each.
    """
    element = contour.get_item(CONTOUR_DATA)  # as bytes where it is untouched: pydicom would check each number
    text = element.value if isinstance(element.value, bytes) else "\\".join(map(str, contour.ContourData)).encode()
    points = np.array(text.rstrip(b"\0 ").split(b"\\"), dtype=np.float64).reshape(-1, 3)
    if not np.isfinite(points).all():
        raise ValueError("a point that is no number")
    return points


def _references(header: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Return the UIDs of the series and images that a structure set refers to, and of its frames of reference."""
    frames = {str(roi.get("ReferencedFrameOfReferenceUID") or "") for roi in header.StructureSetROISequence}
    uids = {
        str(image.get("ReferencedSOPInstanceUID") or "")
        for item in header.get("ROIContourSequence") or ()
        for contour in item.get("ContourSequence") or ()
        for image in contour.get("ContourImageSequence") or ()
    }
    for frame in header.get("ReferencedFrameOfReferenceSequence") or ():
        frames.add(str(frame.get("FrameOfReferenceUID") or ""))
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                uids.add(str(series.get("SeriesInstanceUID") or ""))
    return frozenset(uids - {""}), frozenset(frames - {""})


def remarks_on_series(path: Path, image: Path) -> tuple[Remark, ...]:
    """Compare what a label map was drawn on with its image, where it is an RTSTRUCT and the image DICOM.

    Returns:
        A remark where it was drawn on another series of the same frame of reference, or does not say on which.

    Raises:
        VolumeError: If it was drawn on another series.
    """
    file = structure_file(path)
    frames = [frame for one in list_series(image) for frame in one.frames] if file is not None else []
    if file is None or not frames:
        return ()
    drawing = read_drawing(file)
    if drawing.drawn_on & ({frame.uid for frame in frames} | {frame.instance for frame in frames}):
        return ()
    at = IDENTITY.index("FrameOfReferenceUID")
    shared = drawing.frames & {frame.identity[at] for frame in frames}
    if drawing.drawn_on and not shared:
        raise VolumeError(
            f"{file}: was drawn on another series ({min(drawing.drawn_on)}) than {image.name} holds ({frames[0].uid}); "
            "give the image that it was drawn on"
        )
    found = "was drawn on another series with the same frame of reference" if drawing.drawn_on else "names no series"
    fix = "nothing if it lies well on the image"
    return (Remark(code="contours-of-series", found=f"the RTSTRUCT {found}", fix=fix, is_doubtful=True),)


def lay_contours(file: Path, values: Mapping[int, int], whole: Grid) -> tuple[Overlay, tuple[Remark, ...]]:
    """Return the structures of an RTSTRUCT laid over each other (Z, Y, X), and what is worth knowing of them.

    Args:
        file: To read.
        values: Label value of each structure that counts, by its number.
        whole: Grid of the image, axes along LPS.

    Raises:
        VolumeError: If it is damaged, or contours lie outside the image or its slices.
    """
    drawn = (one for one in read_drawing(file).structures if one.number in values)
    used = sorted(drawn, key=lambda one: values[one.number])
    to_index: Points = np.linalg.inv(whole.matrix())
    rings = {one.number: [_in_voxels(points, to_index) for points in one.contours] for one in used}
    axis = _slicing_axis(file, [ring for of_one in rings.values() for ring in of_one])
    masks = (
        NamedMask(name=o.name, value=values[o.number], array=_rasterised(file, o.name, rings[o.number], axis, whole))
        for o in used
    )
    laid = overlay(masks, whole.shape)
    return laid, _of_gaps([one.name for one in used if _has_gaps(rings[one.number], axis)])


def _in_voxels(points: Points, to_index: Points) -> Points:
    """Return points in mm as voxel indices x, y, z."""
    return np.asarray(np.round(points @ to_index[:3, :3].T + to_index[:3, 3], THOUSANDTHS))


def _slicing_axis(file: Path, rings: Sequence[Points]) -> int:
    """Return the axis (x, y, z: 0, 1, 2) along which all contours are flat and lie in slices.

    Raises:
        VolumeError: If there is none.
    """
    if not rings:
        return 2
    extents = np.array([np.ptp(ring, axis=0) for ring in rings]).max(axis=0)
    axis = int(extents.argmin())
    at = np.array([ring[:, axis].mean() for ring in rings])
    off = float(np.abs(at - np.rint(at)).max())
    if extents[axis] > FLAT_VOXELS or off > BETWEEN_VOXELS:
        what = "are oblique to the image's slices" if extents[axis] > FLAT_VOXELS else "lie between the image's slices"
        raise VolumeError(f"{file}: its contours {what}; give the image that they were drawn on")
    return axis


def _rasterised(file: Path, name: str, rings: Sequence[Points], axis: int, whole: Grid) -> npt.NDArray[np.bool_]:
    """Return the voxels of a structure (Z, Y, X).

    Args:
        file: For messages.
        name: Of the structure.
        rings: Its contours in voxels x, y, z.
        axis: Across the slices: 0, 1, 2 for x, y, z.
        whole: Grid of the image.

    Raises:
        VolumeError: If contours lie outside the image.
    """
    last = np.array(whole.shape[::-1]) - 1
    outside = sum(bool((ring < -BEYOND_VOXELS).any() or (ring > last + BEYOND_VOXELS).any()) for ring in rings)
    by_slice: dict[int, list[Points]] = {}
    rows, columns = (n for n in (2, 1, 0) if n != axis)
    for ring in rings:
        number = round(float(ring[:, axis].mean()))
        outside += not outside and not 0 <= number <= last[axis]
        by_slice.setdefault(number, []).append(ring[:, (columns, rows)])
    if outside:
        raise VolumeError(
            f"{file}: {outside} of {counted(len(rings), 'contour')} of {shortened(name)} reach outside the image; "
            "give the image that they were drawn on, or cut them there"
        )
    mask = np.zeros(whole.shape, dtype=np.bool_)
    slices = np.moveaxis(mask, 2 - axis, 0)
    for number, of_slice in by_slice.items():
        slices[number] = voxels_inside(of_slice, slices.shape[1:])
    return mask


def _has_gaps(rings: Sequence[Points], axis: int) -> bool:
    """Return whether most steps from one slice with contours to the next leave slices out."""
    slices = np.unique([round(float(ring[:, axis].mean())) for ring in rings])
    return bool(len(slices) > 2 and np.median(np.diff(slices)) > 1)


def _of_gaps(names: Sequence[str]) -> tuple[Remark, ...]:
    if not names:
        return ()
    found = f"contours skip slices, where the organ is then absent: {', '.join(map(shortened, names))}"
    fix = "interpolate them in the planning system, or mark the slices between as not annotated"
    return (Remark(code="contours-sparse", found=found, fix=fix, is_doubtful=True),)
