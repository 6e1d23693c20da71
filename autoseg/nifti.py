"""What ITK's NIfTI reader does not tell: files cut short, and voxels that are no numbers."""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from autoseg.errors import VolumeError

BLOCK_BYTES = 1 << 22


def require_sound_nifti(file: Path) -> None:
    """Refuse a NIfTI file that is cut short or holds NaN: ITK makes zeros of both and says nothing."""
    try:
        with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as stream:
            bad, missing = _scan_nifti(stream)
    except (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError, ZeroDivisionError) as error:
        raise VolumeError(f"{file}: the file is damaged or cut short ({error}); copy it again") from error
    if missing > 0:
        raise VolumeError(f"{file}: the file is cut short, {missing} bytes of voxels are missing; copy it again")
    if bad:
        raise VolumeError(f"{file}: {bad} voxels are NaN or infinite; replace them, for CT by -1024")


def _scan_nifti(stream: gzip.GzipFile | io.BufferedReader) -> tuple[int, int]:
    """Read a file to its end; return (NIfTI-1 only) its voxels that are not finite and its bytes that are missing."""
    header = stream.read(352)
    order = {b"\x5c\x01\x00\x00": "<", b"\x00\x00\x01\x5c": ">"}.get(header[:4])  # NIfTI-1: 348
    if order is None:
        while stream.read(BLOCK_BYTES):
            continue
        return 0, 0
    rank, *sizes = struct.unpack(f"{order}8h", header[40:56])
    kind, bits = struct.unpack(f"{order}2h", header[70:74])
    (offset,) = struct.unpack(f"{order}f", header[108:112])
    floats = {16: f"{order}f4", 64: f"{order}f8"}.get(kind)
    stream.read(max(0, int(offset) - len(header)))
    bad, left, rest = 0, math.prod(sizes[:rank]) * bits // 8, b""
    while block := stream.read(BLOCK_BYTES):
        left -= len(block)
        if floats:
            block = rest + block
            whole = len(block) // (bits // 8) * (bits // 8)
            bad += int(np.count_nonzero(~np.isfinite(np.frombuffer(block[:whole], floats))))
            rest = block[whole:]
    return bad, left
