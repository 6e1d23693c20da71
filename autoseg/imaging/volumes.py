"""Volumes: images and label maps with their axes along LPS, read from and written to any format of `readers`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.contents import require_memory
from autoseg.imaging.dicom import list_series
from autoseg.imaging.grid import Grid, corner_distance_mm, to_lps
from autoseg.imaging.itk import reason
from autoseg.imaging.label_values import whole_values
from autoseg.imaging.lattice import fit_label, union_grid
from autoseg.imaging.overlaps import Overlay, label_map_of, laid_over
from autoseg.imaging.pictures import values_grid
from autoseg.imaging.readers import Header, StoredImage, image_suffixes, open_path, reader_of_suffix
from autoseg.imaging.remarks import Remark
from autoseg.imaging.segment_values import values_of_structures
from autoseg.imaging.slicer_segments import is_layered, slicer_names
from autoseg.imaging.structures import Structures, are_named, mask_of, remarks_on_name, structures_of
from autoseg.labels import LabelScheme
from autoseg.words import counted

NO_LABELS = LabelScheme(labels=())
SAME_PLACE_MM = 0.01  # corners nearer than this are the same place: header rounding, not a shift


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Voxels with their place in the patient, axes along LPS."""

    array: npt.NDArray[Any]  # image: as stored (C, Z, Y, X); label map: int32 (Z, Y, X)
    grid: Grid  # of the array, LPS
    stored: Grid  # as in the file
    remarks: tuple[Remark, ...] = ()  # what is worth knowing of the file
    sparse: bool = False  # a label map without the slices in which nothing is segmented

    def as_float32(self) -> Volume:
        """Return the volume with its array as float32, contiguous."""
        return replace(self, array=np.ascontiguousarray(self.array, dtype=np.float32))


def read_grid(file: Path) -> Grid:
    """Read only the header of a file; return its grid as stored.

    Raises:
        VolumeError: If the file is missing or its header cannot be read.
    """
    return read_header(file).grid


def read_header(path: Path, series: str | None = None) -> Header:
    """Read only the header of a file, or of a DICOM folder.

    Args:
        path: File or folder.
        series: SeriesInstanceUID, or its end, of the series to take from a DICOM folder that holds several.

    Raises:
        VolumeError: If the file is missing or its header cannot be read.
    """
    return open_path(path).header(path, series)


def read_image(files: Sequence[Path], series: str | None = None) -> Volume:
    """Read an image: one file (3D, or 4D with the channels last), one file a channel, or one DICOM folder.

    Args:
        files: What to read.
        series: SeriesInstanceUID, or its end, of the series to take from a DICOM folder that holds several.

    Returns:
        A volume whose array (C, Z, Y, X) has the file's type, and axes along LPS; it may be read-only.

    Raises:
        VolumeError: If a file is missing, damaged, holds NaN or infinite voxels, or the channels' grids differ.
    """
    parts = [open_path(file).read(file, series) for file in files]
    stored = parts[0].grid
    for file, part in zip(files, parts, strict=True):
        if corner_distance_mm(stored, part.grid) > SAME_PLACE_MM:
            raise VolumeError(
                f"{file}: its grid {part.grid.shape} differs from that of {files[0]} {stored.shape}; "
                "resample the channels of a case onto one grid"
            )
    array = parts[0].array if len(parts) == 1 else np.concatenate([part.array for part in parts])
    remarks = tuple(dict.fromkeys(remark for part in parts for remark in part.remarks))
    return image_volume(StoredImage(array=array, grid=stored, remarks=remarks), files[0])


def image_volume(image: StoredImage, source: object) -> Volume:
    """Return an image as stored as a volume with its axes along LPS.

    Args:
        image: From a file or from memory.
        source: What it is called in messages.

    Raises:
        VolumeError: If it holds NaN, infinite or complex voxels.
    """
    array = image.array
    if array.dtype.kind not in "biuf":
        raise VolumeError(f"{source}: its voxels are complex numbers; write their magnitude")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise VolumeError(f"{source}: NaN or infinite in {counted(bad, 'voxel')}; replace them, for CT by -1024")
    turn, grid = to_lps(image.grid)
    return Volume(array=turn.apply(array), grid=grid, stored=image.grid, remarks=image.remarks)


def read_label(files: Path | Sequence[Path], whole: Grid | None = None, scheme: LabelScheme = NO_LABELS) -> Volume:
    """Read a label map.

    Args:
        files: An image; a DICOM SEG, an RTSTRUCT, or the folder of one; a folder of one mask an organ; or several of
            these, of one image, where an image is a mask that is called as its file, as is a lone one of `MaskFiles`.
        whole: Grid of its image, axes along LPS; a label map that was saved cropped is brought to it.
        scheme: Whose labels' names give segments, structures and masks their values; without labels their numbers are.

    Returns:
        A volume whose array is int32 (Z, Y, X), axes along LPS.

    Raises:
        VolumeError: If a file is missing, damaged, has several channels, values that are not whole numbers, or organs
            beyond its image; or if names, or organs that overlap, say nothing that a label map can.
    """
    paths = (files,) if isinstance(files, Path) else tuple(files)
    if not isinstance(files, Path) and are_named(files):
        return _read_several(paths, whole, scheme)
    has_values = not scheme.labels and bool(slicer_names(paths[0])) and not is_layered(paths[0])
    structures = None if has_values else structures_of(paths[0])
    if structures is None:
        label = _read_values(paths[0], whole)
        return replace(label, remarks=(*label.remarks, *remarks_on_name(paths[0], label.array, scheme.labels)))
    values, remarks = structures.values(scheme.labels)
    laid, label = _read_structures(paths[0], structures, values, whole)
    array, of_overlaps = label_map_of(paths[0], laid, scheme)
    return replace(label, array=array, remarks=(*remarks, *of_overlaps, *label.remarks))


def _read_values(file: Path, whole: Grid | None) -> Volume:
    """Read a label map whose values are the labels'."""
    image = _label_image(file, whole)
    values, remarks = whole_values(file, image.array)
    turn, grid = to_lps(image.grid)
    array = np.ascontiguousarray(turn.apply(values))
    label = Volume(array=array, grid=grid, stored=image.grid, remarks=(*image.remarks, *remarks))
    return label if whole is None else _on_grid(file, label, whole, bool(slicer_names(file)))


def _read_several(files: Sequence[Path], whole: Grid | None, scheme: LabelScheme) -> Volume:
    """Read the structures of several files of one image as one label map."""
    every = [structures_of(file) or mask_of(file) for file in files]
    places = [(part, number) for part, one in enumerate(every) for number in one.names]
    names = {n: every[part].names[number] for n, (part, number) in enumerate(places, start=1)}
    values, remarks = values_of_structures(files[0], names, scheme.labels)
    laid: Overlay | None = None
    for part, (file, structures) in enumerate(zip(files, every, strict=True)):
        own = {number: values[n] for n, (of, number) in enumerate(places, start=1) if of == part and n in values}
        if own:
            one, label = _read_structures(file, structures, own, whole)
            whole = whole or label.grid
            if corner_distance_mm(label.grid, whole) > SAME_PLACE_MM:
                raise VolumeError(
                    f"{file}: its grid {label.grid.shape} differs from that of the image, or of the case's other label "
                    f"maps, {whole.shape}; resample it onto the image"
                )
            laid, remarks = one if laid is None else laid_over(laid, one), (*remarks, *label.remarks)
    if laid is None or whole is None:
        raise VolumeError(f"{files[0]}: neither it nor the case's other label maps hold a structure; export them again")
    array, of_overlaps = label_map_of(files[0], laid, scheme)
    return Volume(array=array, grid=whole, stored=whole, remarks=tuple(dict.fromkeys((*remarks, *of_overlaps))))


def _read_structures(
    file: Path, structures: Structures, values: Mapping[int, int], whole: Grid | None
) -> tuple[Overlay, Volume]:
    """Read structures laid over each other, on the grid of the image where it is known; the volume holds the codes."""
    laid = structures.lay(values, whole)
    turn, grid = to_lps(laid.grid)
    array = np.ascontiguousarray(turn.apply(laid.overlay.codes))
    label = Volume(array=array, grid=grid, stored=laid.grid, remarks=laid.remarks, sparse=laid.is_sparse)
    label = label if whole is None else _on_grid(file, label, whole, laid.lacks_slices)
    return replace(laid.overlay, codes=label.array), label


def _label_image(file: Path, whole: Grid | None) -> StoredImage:
    """Read a label map as stored; one whose format has no grid of its own lies on its image's, where that has none."""
    reader = open_path(file)
    if reader.values is None:
        return reader.read(file, None)
    values = reader.values(file)
    return StoredImage(array=values[None], grid=values_grid(file, values, whole))


def _on_grid(file: Path, label: Volume, whole: Grid, lacks_slices: bool) -> Volume:
    """Return a label map on the grid of its image (LPS) where it was saved cropped; else as it is.

    Args:
        file: For messages.
        label: On any grid.
        whole: Grid of the image.
        lacks_slices: Whether its format leaves out what is empty, slices of one axis alone, too.

    Raises:
        VolumeError: If it has organs beyond the image.
    """
    if label.grid.shape == whole.shape:
        return label
    fitted = fit_label(label.array, label.grid, whole, lacks_slices)
    if fitted is None:
        return label
    if fitted.organ_cut:
        raise VolumeError(
            f"{file}: {counted(fitted.organ_cut, 'voxel')} of its organs lie outside the image; give the image that it "
            "was drawn on, or resample it to the image"
        )
    remarks = list(label.remarks)
    if fitted.padded and not label.sparse:
        found = f"the label map is cropped to {label.grid.shape} of the image's {whole.shape} voxels (Z, Y, X)"
        remarks.append(Remark(code="label-cropped", found=found, fix="nothing, the rest is background"))
    if fitted.cut and not label.sparse:
        found = f"{counted(fitted.cut, 'voxel')} of the label map, all background, lie outside the image"
        remarks.append(Remark(code="label-beyond", found=found, fix="nothing, they are left out"))
    return Volume(array=fitted.array, grid=whole, stored=whole, remarks=tuple(remarks))


def on_one_grid(file: Path, one: Volume, other: Volume) -> tuple[Volume, Volume]:
    """Return two label maps on one grid where either was saved cropped; else as they are.

    Args:
        file: Of the first, for messages.
        one: Label map, axes along LPS.
        other: Another.

    Raises:
        VolumeError: If the memory cannot hold the grid.
    """
    whole = union_grid(one.grid, other.grid)
    same_shape = one.grid.shape == other.grid.shape and not (one.sparse or other.sparse)
    if whole is None or same_shape:  # of two places for one shape, a header may be wrong
        return one, other
    require_memory(file, 2 * 4.0 * math.prod(whole.shape))
    for grid in (whole, one.grid, other.grid):
        fitted = [fit_label(label.array, label.grid, grid, label.sparse) for label in (one, other)]
        first, second = fitted
        if first is not None and second is not None and not first.organ_cut and not second.organ_cut:
            return replace(one, array=first.array, grid=grid), replace(other, array=second.array, grid=grid)
    return one, other


def write_label(
    file: Path, label: npt.NDArray[np.integer[Any]], stored: Grid, fields: Mapping[str, str] | None = None
) -> None:
    """Write a label map on the grid of its image, atomically.

    Args:
        file: Where; the suffix picks the format.
        label: (Z, Y, X), axes along LPS; written as uint8 or uint16.
        stored: Grid of the image as stored; the label map gets exactly this grid.
        fields: Fields for the header, where the format has room for them (NRRD, MetaImage).

    Raises:
        VolumeError: If the file cannot be written.
    """
    write_array(file, stored_label(label, stored), stored, fields)


def stored_label(label: npt.NDArray[np.integer[Any]], stored: Grid) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return a label map (Z, Y, X), axes along LPS, with the axes of its image as stored, as uint8 or uint16."""
    kind = np.uint8 if label.max(initial=0) < 256 else np.uint16
    return to_lps(stored)[0].undo(label).astype(kind, copy=False)


def write_array(file: Path, array: npt.NDArray[Any], stored: Grid, fields: Mapping[str, str] | None = None) -> None:
    """Write an array (Z, Y, X) that already has the axes of `stored`, atomically, compressed where the format can.

    Raises:
        VolumeError: If the file cannot be written.
    """
    reader = reader_of_suffix(file.name)
    if reader is None or reader.write is None:
        raise VolumeError(f"{file}: unknown image suffix; use one of {', '.join(image_suffixes())}")
    try:
        reader.write(file, array, stored, fields or {})
    except (RuntimeError, OSError) as error:
        raise VolumeError(f"{file}: cannot be written ({reason(error)}); check the disk and the folder") from error


def is_dicom_folder(folder: Path) -> bool:
    """Return whether `folder`, or a folder within it, holds at least one DICOM series of images."""
    return bool(list_series(folder))
