"""NIfTI-1 voxels straight from the file, read once: ITK makes zeros of missing and NaN voxels and says nothing."""

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

HEADER_BYTES = 348
VOXELS_AT = 352  # bytes, in files that ITK writes
PLACE_BYTES = ((0, 4), (40, 56), (76, 108), (123, 124), (252, 328))  # byte order, sizes, steps, unit, both forms
ORDERS = {b"\x5c\x01\x00\x00": "<", b"\x00\x00\x01\x5c": ">"}  # the first field is HEADER_BYTES
KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
COMPLEX = {32, 1792, 2048}  # numbers of complex voxel types
MM_BY_UNIT = {1: 1000.0, 3: 0.001}  # metre and micrometre; everything else is read as millimetres
DAMAGED = (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError)
SLAB_VOXELS = 1 << 23  # that are scaled at a time


@dataclass(frozen=True, kw_only=True)
class NiftiHeader:
    """What the header of a NIfTI-1 file says."""

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
        """Whether intensities are slope * stored + intercept; a slope of 0 means that they are not (NIfTI-1)."""
        finite = math.isfinite(self.slope) and math.isfinite(self.intercept)
        return finite and self.slope != 0 and (self.slope, self.intercept) != (1, 0)

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
    """Read the header of a NIfTI-1 file, packed or not; None for another kind of file.

    Raises:
        VolumeError: If it says what no image can be, or that voxels are complex.
    """
    try:
        header = _header(read_start(file)[0])
    except DAMAGED as error:
        raise VolumeError(f"{file}: the file is damaged or cut short ({error}); copy it again") from error
    _require_real(file, header)
    return header


def _require_real(file: Path, header: NiftiHeader | None) -> None:
    if header is not None and header.kind in COMPLEX:
        raise VolumeError(f"{file}: its voxels are complex numbers; write their magnitude")


def read_voxels(file: Path) -> NiftiVoxels | None:
    """Read a NIfTI file's voxels once, and refuse it where it is cut short or damaged.

    Returns:
        Voxels, scaled as the header says; or None for what ITK must read: coloured, with more than four axes, or
        NIfTI-2. Such a file is sound too, as far as can be told.

    Raises:
        VolumeError: If the file is damaged or cut short, or declares more than file or memory can hold.
    """
    try:
        content = unpack(file, _needed_bytes)
        header = _header(content.data)
    except DAMAGED as error:
        raise VolumeError(f"{file}: the file is damaged or cut short ({error}); copy it again") from error
    _require_real(file, header)
    if header is None:
        return None
    missing = header.offset + header.voxel_bytes - len(content.data)
    if missing > 0:
        raise VolumeError(f"{file}: the file is cut short, {missing} bytes of voxels are missing; copy it again")
    if not header.dtype or len(header.sizes) not in (3, 4):
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
    """Return what the header of a NIfTI-1 file says, or None where it is another kind of file."""
    order = ORDERS.get(bytes(data[:4]))
    if order is None or data[344:347] != b"n+1":
        return None
    rank, *sizes = struct.unpack(f"{order}8h", data[40:56])
    kind, bits = struct.unpack(f"{order}2h", data[70:74])
    offset, slope, intercept = struct.unpack(f"{order}3f", data[108:120])
    if not 2 <= rank <= 7 or min(sizes[:rank]) < 1:
        raise ValueError(f"{rank} axes of {sizes} voxels")
    while rank > 3 and sizes[rank - 1] == 1:
        rank -= 1
    qform_code, sform_code = struct.unpack(f"{order}2h", data[252:256])
    return NiftiHeader(
        order=order,
        sizes=tuple(sizes[:rank]),
        kind=kind,
        bits=8 * np.dtype(KINDS[kind]).itemsize if kind in KINDS else bits,
        offset=max(HEADER_BYTES + 4, int(offset)),
        slope=slope,
        intercept=intercept,
        pixdim=struct.unpack(f"{order}4f", data[76:92]),
        unit_mm=MM_BY_UNIT.get(data[123] & 7, 1.0),
        qform_code=qform_code,
        sform_code=sform_code,
        quaternion=struct.unpack(f"{order}6f", data[256:280]),
        rows=struct.unpack(f"{order}12f", data[280:328]),
        place=b"".join(data[start:stop] for start, stop in PLACE_BYTES),
    )
