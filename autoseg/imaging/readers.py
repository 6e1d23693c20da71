"""The formats of images on disk, each as one value: NIfTI, NRRD, MetaImage, PNG, TIFF, DICOM series.

A further format is one more `Reader` in READERS. Readers give what the file says: voxels and grid as stored; bringing
them to LPS, and the checks that every image must pass, are done once for all formats in `volumes`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.errors import VolumeError
from autoseg.files import atomic_path
from autoseg.imaging.contents import require_format, require_held, require_memory
from autoseg.imaging.dicom import grid_of, pick_series
from autoseg.imaging.dicom_frames import is_dicom
from autoseg.imaging.dicom_frames import read_voxels as read_frame_voxels
from autoseg.imaging.grid import Grid
from autoseg.imaging.itk import Array, Information, image_of, read_file, read_information, read_slices, write_file
from autoseg.imaging.nifti import NiftiHeader, read_nifti_header, read_voxels, require_written
from autoseg.imaging.nifti_grid import read_nifti_grid
from autoseg.imaging.pictures import is_picture, picture_grid, picture_size, read_picture, read_values, write_picture
from autoseg.imaging.remarks import Remark
from autoseg.imaging.text_headers import check_meta_header, check_nrrd_header, unpack_meta_voxels
from autoseg.words import is_text

DICOM_BYTES = 2  # of a voxel, as nearly all scanners write them


@dataclass(frozen=True, kw_only=True)
class Header:
    """The facts in a file's header: known before its voxels are read."""

    grid: Grid  # as stored
    channels: int
    voxel_bytes: int  # of one channel
    remarks: tuple[Remark, ...] = ()

    @property
    def image_bytes(self) -> int:
        """Bytes that the image takes in memory as it is read."""
        return math.prod(self.grid.shape) * self.channels * self.voxel_bytes


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """An image as a file holds it."""

    array: Array  # (C, Z, Y, X)
    grid: Grid
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How images of one format are read and written.

    Both kinds of reading take a path, and the SeriesInstanceUID (or its end) of the one that is meant where a folder
    holds several images. Writing takes a path, an array (Z, Y, X), its grid and fields for the header, which a format
    without room for them leaves out; it is atomic, and raises RuntimeError or OSError.
    """

    suffixes: tuple[str, ...]  # in lower case; none: a folder is an image
    header: Callable[[Path, str | None], Header]
    read: Callable[[Path, str | None], StoredImage]
    write: Callable[[Path, Array, Grid, Mapping[str, str]], None] | None = None  # None: the format is only read
    values: Callable[[Path], Array] | None = None  # of a label map (Z, Y, X), where the file has no grid of its own
    slicer_segments: bool = False  # whether 3D Slicer looks for its segments in the header's fields


def _header_of(known: Information, remarks: tuple[Remark, ...] = ()) -> Header:
    return Header(
        grid=known.grid,
        channels=known.channels,
        voxel_bytes=known.voxel_bytes,
        remarks=(*remarks, *known.remarks),
    )


def _voxel_bytes(known: Information) -> int:
    return math.prod(known.grid.shape) * known.channels * known.voxel_bytes


def _read_any_header(file: Path, series: str | None) -> Header:
    return _header_of(read_information(file))


def _read_any(file: Path, series: str | None) -> StoredImage:
    known = read_information(file)
    require_memory(file, _voxel_bytes(known))
    array, grid, remarks = read_file(file)
    return StoredImage(array=array, grid=grid, remarks=remarks)


@dataclass(frozen=True)
class _TextHeader:
    """A format whose header is text, and is checked before ITK sees it."""

    name: str
    image_io: str  # of ITK
    check: Callable[[Path], tuple[Remark, ...]]
    unpack: Callable[[Path], Array | None] | None = None  # gives voxels (C, Z, Y, X), where ITK must not unpack them

    def header(self, file: Path, series: str | None) -> Header:
        require_format(file, self.name)
        remarks = self.check(file)
        return _header_of(read_information(file, self.image_io), remarks)

    def read(self, file: Path, series: str | None) -> StoredImage:
        require_format(file, self.name)
        remarks = self.check(file)
        voxels = None if self.unpack is None else self.unpack(file)
        if voxels is not None:
            known = read_information(file, self.image_io)
            return StoredImage(array=voxels, grid=known.grid, remarks=(*remarks, *known.remarks))
        array, grid, more = read_file(file, self.image_io)
        return StoredImage(array=array, grid=grid, remarks=(*remarks, *more))


_NRRD = _TextHeader(name="NRRD", image_io="NrrdImageIO", check=check_nrrd_header)
_META_IMAGE = _TextHeader(name="MetaImage", image_io="MetaImageIO", check=check_meta_header, unpack=unpack_meta_voxels)


def _write_image(
    file: Path,
    array: Array,
    grid: Grid,
    fields: Mapping[str, str],
    require: Callable[[Path, int], None] | None = None,
) -> None:
    suffix = suffix_of(file.name) or ""
    with atomic_path(file, suffix) as beside:
        write_file(beside, image_of(array, grid), fields, compress=suffix != ".nii")
        if require is not None:
            require(beside, array.nbytes)


def _read_nifti_header(file: Path, series: str | None) -> Header:
    """Read a header by the standard; ITK's own reading of it is asked for, and used where it says the same."""
    require_format(file, "NIfTI")
    header = read_nifti_header(file)
    if header is None or len(header.sizes) < 3 or not header.dtype:
        return _header_of(read_information(file, "NiftiImageIO"))
    return _nifti_header(file, header)


def _nifti_header(file: Path, header: NiftiHeader) -> Header:
    grid, remarks = read_nifti_grid(file, header)
    voxel_bytes = np.dtype(header.dtype).itemsize
    return Header(
        grid=grid,
        channels=math.prod(header.sizes[3:]),
        voxel_bytes=max(4, voxel_bytes) if header.is_scaled else voxel_bytes,
        remarks=remarks,
    )


def _read_nifti(file: Path, series: str | None) -> StoredImage:
    require_format(file, "NIfTI")
    voxels = read_voxels(file)
    if voxels is None:
        require_held(file, _voxel_bytes(read_information(file, "NiftiImageIO")))
        return _read_any(file, series)
    header = _nifti_header(file, voxels.header)
    return StoredImage(array=voxels.array, grid=header.grid, remarks=(*voxels.remarks, *header.remarks))


def _write_header_and_voxels(file: Path, array: Array, grid: Grid, fields: Mapping[str, str]) -> None:
    """Write a .mhd, which names a file with the voxels, and that file: never a pair that does not fit."""
    header, voxels = file.with_suffix(".mhd"), file.with_suffix(".raw")
    with atomic_path(header) as header_beside, atomic_path(voxels) as voxels_beside:  # renamed from right to left
        write_file(header_beside, image_of(array, grid), fields, compress=False)  # ITK picks voxels_beside itself
        text = header_beside.read_bytes().replace(os.fsencode(voxels_beside.name), os.fsencode(voxels.name))
        header_beside.write_bytes(text)
        header.unlink(missing_ok=True)  # or, after a kill between the two, it would stand beside other voxels


def _read_series_header(folder: Path, series: str | None) -> Header:
    chosen = pick_series(folder, series)
    as_stored = chosen.same_slope and not chosen.multi_frame
    return Header(grid=grid_of(chosen), channels=1, voxel_bytes=DICOM_BYTES if as_stored else 4)


def _read_series(folder: Path, series: str | None) -> StoredImage:
    """Read a DICOM series slice by slice in the order of their positions, in scaled values (HU)."""
    chosen = pick_series(folder, series, say_left_out=True)
    slices = []
    foreign = not all(is_text(str(file)) for file in chosen.files)  # names that end the process within ITK
    inverted = any(frame.inverted for frame in chosen.frames)  # ITK turns their values over, HU and all
    if chosen.multi_frame or foreign or inverted:  # ITK would scale all frames as it does the first
        decoded = read_frame_voxels(chosen.frames)
    else:
        decoded = read_slices(chosen.files, as_float=not chosen.same_slope)
    for file, voxels in zip(chosen.files, decoded, strict=True):
        if voxels.size != math.prod(chosen.size):
            raise VolumeError(f"{file}: a slice in colour; autoseg reads CT and MR, so leave this series out")
        slices.append(voxels.reshape(chosen.size))
    return StoredImage(array=np.stack(slices)[None], grid=grid_of(chosen))


def _read_picture_header(file: Path, series: str | None) -> Header:
    shape, channels, voxel_bytes = picture_size(file)
    return Header(grid=picture_grid(file, shape), channels=channels, voxel_bytes=voxel_bytes)


def _read_picture(file: Path, series: str | None) -> StoredImage:
    array = read_picture(file)
    z, y, x = array.shape[1:]
    return StoredImage(array=array, grid=picture_grid(file, (z, y, x)))


DICOM_SERIES = Reader(suffixes=(), header=_read_series_header, read=_read_series)


def _picture(suffixes: tuple[str, ...]) -> Reader:
    return Reader(
        suffixes=suffixes, header=_read_picture_header, read=_read_picture, write=write_picture, values=read_values
    )


READERS: dict[str, Reader] = {
    "NIfTI": Reader(
        suffixes=(".nii.gz", ".nii"),
        header=_read_nifti_header,
        read=_read_nifti,
        write=partial(_write_image, require=require_written),
    ),
    "NRRD": Reader(suffixes=(".nrrd",), header=_NRRD.header, read=_NRRD.read, write=_write_image, slicer_segments=True),
    "MetaImage": Reader(suffixes=(".mha",), header=_META_IMAGE.header, read=_META_IMAGE.read, write=_write_image),
    "MetaImage in two files": Reader(
        suffixes=(".mhd",),
        header=_META_IMAGE.header,
        read=_META_IMAGE.read,
        write=_write_header_and_voxels,
    ),
    **{name: _picture(suffixes) for name, suffixes in (("PNG", (".png",)), ("TIFF", (".tif", ".tiff")))},
    "DICOM series": DICOM_SERIES,
}
ANY_FILE = Reader(suffixes=(), header=_read_any_header, read=_read_any)  # as ITK knows more formats than are named here


def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of all formats whose images are files, in lower case."""
    return tuple(suffix for reader in READERS.values() for suffix in reader.suffixes)


def suffix_of(name: str) -> str | None:
    """Return the longest of the known suffixes that a file's name ends with, in lower case; None for another name."""
    fitting = [suffix for suffix in image_suffixes() if name.lower().endswith(suffix)]
    return max(fitting, key=len, default=None)


def images_among(files: Iterable[Path], with_pictures: bool = False) -> list[Path]:
    """Return the visible files whose suffix is known; PNG and TIFF only where no other image is, else as previews.

    Args:
        files: Of a folder.
        with_pictures: Whether PNG and TIFF are wanted in any case.
    """
    visible = [file for file in files if not file.name.startswith(".")]
    images = [file for file in visible if strip_suffix(file)]
    others = [file for file in images if not is_picture(file)]
    if with_pictures or len(others) == len(images):
        return images
    has_others = others or any(suffix_of(file.name) is None and is_dicom(file) for file in visible if file.is_file())
    return others if has_others else images


def strip_suffix(file: Path) -> str | None:
    """Return the name of `file` without its image suffix, or None where it has none that is known."""
    suffix = suffix_of(file.name)
    return None if suffix is None else file.name[: -len(suffix)]


def reader_of(path: Path) -> Reader | None:
    """Return the reader of a folder, or of a file by its suffix, whether or not it exists; None for another name.

    A file of another name may be DICOM, which needs no suffix: a whole series where it holds several frames.
    """
    if path.is_dir():
        return DICOM_SERIES
    return reader_of_suffix(path.name) or (DICOM_SERIES if is_dicom(path) else None)


def reader_of_suffix(name: str) -> Reader | None:
    """Return the reader of a file by its name alone; None where no format has its suffix."""
    suffix = suffix_of(name)
    return next((reader for reader in READERS.values() if suffix in reader.suffixes), None)


def open_path(path: Path) -> Reader:
    """Return the reader of a file or folder that is to be read now.

    Raises:
        VolumeError: If it is missing.
    """
    if not path.exists():
        raise VolumeError(f"{path}: there is no such file; correct the dataset or the path")
    return reader_of(path) or ANY_FILE
