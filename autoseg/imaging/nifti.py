"""NIfTI-1 voxels straight from the file, read once: ITK makes zeros of missing and NaN voxels and says nothing."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.words import counted

HEADER_BYTES = 348
ORDERS = {b"\x5c\x01\x00\x00": "<", b"\x00\x00\x01\x5c": ">"}  # the first field is HEADER_BYTES
KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
DAMAGED = (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError)


@dataclass(frozen=True)
class _Header:
    order: str  # byte order, as numpy and struct write it
    sizes: tuple[int, ...]  # voxels (X, Y, Z, …)
    kind: int  # NIfTI's number of the voxel type
    bits: int  # per voxel
    offset: int  # of the first voxel in the file, bytes
    scaled: bool  # intensities are slope * stored + intercept

    @property
    def voxel_bytes(self) -> int:
        return math.prod(self.sizes) * self.bits // 8


def read_voxels(file: Path) -> npt.NDArray[Any] | None:
    """Read a NIfTI file's voxels once, and refuse it where it is cut short or damaged.

    Returns:
        Voxels (C, Z, Y, X) as stored, read-only; or None for what ITK must read: scaled, coloured, complex or with
        more than four axes, or NIfTI-2. Such a file is sound too, as far as can be told.

    Raises:
        VolumeError: If the file is damaged or cut short, or holds NaN and ITK would have to read it.
    """
    try:
        data = file.read_bytes()
        if file.name.lower().endswith(".gz"):
            data = gzip.decompress(data)
        header = _header(data)
    except DAMAGED as error:
        raise VolumeError(f"{file}: the file is damaged or cut short ({error}); copy it again") from error
    if header is None:
        return None
    missing = header.offset + header.voxel_bytes - len(data)
    if missing > 0:
        raise VolumeError(f"{file}: the file is cut short, {missing} bytes of voxels are missing; copy it again")
    if header.kind not in KINDS:
        return None
    count = math.prod(header.sizes)
    array = np.frombuffer(data, header.order + KINDS[header.kind], count=count, offset=header.offset)
    if header.scaled or len(header.sizes) not in (3, 4):
        _require_finite(file, array)
        return None
    return array.reshape(-1, *header.sizes[2::-1])


def _header(data: bytes) -> _Header | None:
    """Return what the header of a NIfTI-1 file says, or None where it is another kind of file."""
    order = ORDERS.get(data[:4])
    if order is None or data[344:347] != b"n+1":
        return None
    rank, *sizes = struct.unpack(f"{order}8h", data[40:56])
    kind, bits = struct.unpack(f"{order}2h", data[70:74])
    offset, slope, intercept = struct.unpack(f"{order}3f", data[108:120])
    if not 1 <= rank <= 7 or min(sizes[:rank]) < 1:
        raise ValueError(f"{rank} axes of {sizes} voxels")
    return _Header(
        order=order,
        sizes=tuple(sizes[:rank]),
        kind=kind,
        bits=bits,
        offset=max(HEADER_BYTES + 4, int(offset)),
        scaled=(slope, intercept) not in ((0, 0), (1, 0)),
    )


def _require_finite(file: Path, array: npt.NDArray[Any]) -> None:
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise VolumeError(f"{file}: NaN or infinite in {counted(bad, 'voxel')}; replace them, for CT by -1024")
