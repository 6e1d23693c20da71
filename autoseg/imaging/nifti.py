"""NIfTI voxels straight from the file, read once: ITK makes zeros of missing and NaN voxels and says nothing."""

from __future__ import annotations

import errno
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.contents import ignored_bytes, read_start, unpack
from autoseg.imaging.remarks import Remark

VOXELS_AT = 352  # bytes, in files that ITK writes
KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
COMPLEX = {32, 1792, 2048}  # numbers of complex voxel types
MM_BY_UNIT = {1: 1000.0, 3: 0.001}  # metre and micrometre; everything else is read as millimetres
DAMAGED = (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError)
SLAB_VOXELS = 1 << 23  # that are scaled at a time


Field = tuple[int, str]  # its first byte, and its form as struct writes it


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a version of NIfTI has what (nifti1.h, nifti2.h)."""

    version: int
    header_bytes: int  # which is what the first field says, in either byte order
    magic: tuple[int, bytes]
    sizes: Field  # the number of axes before them
    kind: Field  # and the bits of a voxel
    pixdim: Field
    offset: Field
    scale: Field
    unit: Field
    codes: Field  # of qform and sform
    quaternion: Field
    rows: Field

    def order(self, data: bytes | bytearray) -> str | None:
        """Return the byte order of a header of this version, None where it is another."""
        place, magic = self.magic
        if data[place : place + len(magic)] != magic:
            return None
        return next((order for order in "<>" if data[:4] == struct.pack(f"{order}i", self.header_bytes)), None)

    def place(self, data: bytes | bytearray) -> bytes:
        """Return all that says where voxels lie: byte order, sizes, steps, unit and both forms, as stored."""
        fields = (self.sizes, self.pixdim, self.unit, self.codes, self.quaternion, self.rows)
        return bytes(data[:4]) + b"".join(data[at : at + struct.calcsize(f"<{form}")] for at, form in fields)


LAYOUTS = (
    Layout(
        version=1, header_bytes=348, magic=(344, b"n+1"), sizes=(40, "8h"), kind=(70, "2h"), pixdim=(76, "4f"),
        offset=(108, "f"), scale=(112, "2f"), unit=(123, "B"), codes=(252, "2h"), quaternion=(256, "6f"),
        rows=(280, "12f"),
    ),
    Layout(
        version=2, header_bytes=540, magic=(4, b"n+2"), sizes=(16, "8q"), kind=(12, "2h"), pixdim=(104, "4d"),
        offset=(168, "q"), scale=(176, "2d"), unit=(500, "i"), codes=(344, "2i"), quaternion=(352, "6d"),
        rows=(400, "12d"),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NiftiHeader:
    """What the header of a NIfTI file says."""

    version: int
    order: str  # byte order, as numpy and struct write it
    sizes: tuple[int, ...]  # voxels (X, Y, Z, …), without axes of one voxel at the end beyond the third
    kind: int  # NIfTI's number of the voxel type
    bits: int  # per voxel
    offset: int  # of the first voxel in the file, bytes
    slope: float
    intercept: float
    pixdim: tuple[float, ...]  # sign of the qform's third axis, then steps along X, Y, Z
    unit_mm: float  # what all lengths are multiplied by
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]  # b, c, d, and the first voxel's place x, y, z (RAS)
    rows: tuple[float, ...]  # of the sform, 3x4 (RAS)
    place: bytes  # all that says where voxels lie, as stored

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all voxels in the file."""
        return math.prod(self.sizes) * self.bits // 8

    @property
    def is_scaled(self) -> bool:
        """Whether intensities are slope * stored + intercept; a slope of 0 means that they are not (nifti1.h)."""
        finite = math.isfinite(self.slope) and math.isfinite(self.intercept)
        return finite and self.slope != 0 and (self.slope, self.intercept) != (1, 0)

    @property
    def is_plain(self) -> bool:
        """Whether its voxels are numbers, on three axes or four: what is read without ITK."""
        return bool(self.dtype) and len(self.sizes) in (3, 4)

    @property
    def dtype(self) -> str:
        """Type of the voxels as stored; "" where only ITK knows it."""
        return self.order + KINDS[self.kind] if self.kind in KINDS else ""


@dataclass(frozen=True)
class NiftiVoxels:
    """The voxels of a NIfTI file."""

    array: npt.NDArray[Any]  # (C, Z, Y, X), perhaps read-only
    header: NiftiHeader
    remarks: tuple[Remark, ...]


def read_nifti_header(file: Path) -> NiftiHeader | None:
    """Read the header of a NIfTI file that holds its voxels, packed or not; None for another kind of file.

    Raises:
        VolumeError: If it says what no image can be, or that voxels are complex.
    """
    try:
        header = _header(read_start(file)[0])
    except DAMAGED as error:
        raise VolumeError(f"{file}: the file is damaged or cut short ({error}); copy it again") from error
    _require_readable(file, header)
    return header


def _require_readable(file: Path, header: NiftiHeader | None) -> None:
    if header is not None and header.kind in COMPLEX:
        raise VolumeError(f"{file}: its voxels are complex numbers; write their magnitude")
    if header is not None and header.version == 2 and not header.is_plain:
        raise VolumeError(f"{file}: is NIfTI-2 with colours, of two axes, or of more than four; save it as NIfTI-1")


def read_voxels(file: Path) -> NiftiVoxels | None:
    """Read a NIfTI file's voxels once, and refuse it where it is cut short or damaged.

    Returns:
        Voxels, scaled as the header says; or None for what ITK must read: coloured, with more than four axes, or a
        header with its voxels in a file beside. Such a file is sound too, as far as can be told.

    Raises:
        VolumeError: If the file is damaged or cut short, or declares more than file or memory can hold.
    """
    try:
        content = unpack(file, _needed_bytes)
        header = _header(content.data)
    except DAMAGED as error:
        raise VolumeError(f"{file}: the file is damaged or cut short ({error}); copy it again") from error
    _require_readable(file, header)
    if header is None:
        return None
    missing = header.offset + header.voxel_bytes - len(content.data)
    if missing > 0:
        raise VolumeError(f"{file}: the file is cut short, {missing} bytes of voxels are missing; copy it again")
    if not header.is_plain:
        return None
    stored = np.frombuffer(content.data, header.dtype, count=math.prod(header.sizes), offset=header.offset)
    array = _scale(stored, header) if header.is_scaled else stored
    remarks: tuple[Remark, ...] = ()
    if content.spare:
        found = ignored_bytes(content.spare)
        remarks = (Remark(code="trailing-bytes", found=found, fix="nothing, if the image looks right; else copy it"),)
    return NiftiVoxels(array.reshape(-1, *header.sizes[2::-1]), header, remarks)


def require_written(file: Path, voxel_bytes: int) -> None:
    """Refuse a file that has lost its end: on a full disk ITK writes such a one, and says nothing to its caller.

    Args:
        file: That ITK has written; in gzip's format, where its name ends so, whose last 4 bytes are the length of all.
        voxel_bytes: Of all voxels.

    Raises:
        OSError: If bytes are missing, as the system would where the disk is full.
    """
    expected = VOXELS_AT + voxel_bytes
    with file.open("rb") as stream:
        found = stream.seek(0, os.SEEK_END)
        if file.suffix == ".gz":
            stream.seek(max(0, found - 4))
            expected, found = expected % (1 << 32), int.from_bytes(stream.read(), "little")
    if found != expected:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _needed_bytes(start: bytes) -> int:
    header = _header(start)
    return len(start) if header is None else header.offset + header.voxel_bytes


def _scale(stored: npt.NDArray[Any], header: NiftiHeader) -> npt.NDArray[Any]:
    """Return slope * stored + intercept, worked out in double precision: float64 for float64, else float32."""
    scaled = np.empty(stored.shape, np.float64 if KINDS[header.kind] == "f8" else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the caller
        for at in range(0, len(stored), SLAB_VOXELS):
            part = stored[at : at + SLAB_VOXELS].astype(scaled.dtype)
            scaled[at : at + SLAB_VOXELS] = part * np.float64(header.slope) + np.float64(header.intercept)
    return scaled


def _header(data: bytes | bytearray) -> NiftiHeader | None:
    """Return what the header of a NIfTI file says, or None where it is another kind of file."""
    found = next(((layout, order) for layout in LAYOUTS if (order := layout.order(data))), None)
    if found is None:
        return None
    layout, order = found
    if len(data) < layout.header_bytes:
        raise ValueError(f"{len(data)} of the {layout.header_bytes} bytes of its header")

    def read(field: Field) -> tuple[Any, ...]:
        at, form = field
        return struct.unpack_from(order + form, data, at)

    rank, *sizes = read(layout.sizes)
    kind, bits = read(layout.kind)
    (offset,), (slope, intercept), (unit,) = read(layout.offset), read(layout.scale), read(layout.unit)
    if not 2 <= rank <= 7 or min(sizes[:rank]) < 1:
        raise ValueError(f"{rank} axes of {sizes} voxels")
    while rank > 3 and sizes[rank - 1] == 1:
        rank -= 1
    qform_code, sform_code = read(layout.codes)
    return NiftiHeader(
        version=layout.version,
        order=order,
        sizes=tuple(sizes[:rank]),
        kind=kind,
        bits=8 * np.dtype(KINDS[kind]).itemsize if kind in KINDS else bits,
        offset=max(layout.header_bytes + 4, int(offset)),
        slope=slope,
        intercept=intercept,
        pixdim=read(layout.pixdim),
        unit_mm=MM_BY_UNIT.get(unit & 7, 1.0),
        qform_code=qform_code,
        sform_code=sform_code,
        quaternion=read(layout.quaternion),
        rows=read(layout.rows),
        place=layout.place(data),
    )
