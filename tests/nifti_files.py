"""NIfTI files made by hand, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

AFFINE = np.array([[-1.0, 0, 0, 30], [0, -1.0, 0, 40], [0, 0, 2.5, -20]])  # RAS
CODES = {"u1": 2, "i2": 4, "f4": 16}


def nifti(
    array: np.ndarray,
    affine: np.ndarray = AFFINE,
    codes: tuple[int, int] = (0, 1),
    quaternion: Sequence[float] = (0, 0, 1, 30, 40, -20),
    pixdim: Sequence[float] = (1.0, 1.0, 1.0, 2.5),
    scale: tuple[float, float] = (1.0, 0.0),
    kind: int | None = None,
    units: int = 2,
) -> bytes:
    """Return a file whose array is (Z, Y, X); codes are those of qform and sform."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, array.ndim, *array.shape[::-1], *[1] * (7 - array.ndim))
    struct.pack_into("<2h", header, 70, kind or CODES[array.dtype.str[1:]], 8 * array.itemsize)
    struct.pack_into("<4f", header, 76, *pixdim)
    struct.pack_into("<3f", header, 108, 352, *scale)
    header[123] = units
    struct.pack_into("<2h", header, 252, *codes)
    struct.pack_into("<6f", header, 256, *quaternion)
    struct.pack_into("<12f", header, 280, *affine.ravel())
    header[344:348] = b"n+1\0"
    return bytes(header) + array.tobytes()


def nifti_2(array: np.ndarray, codes: tuple[int, int] = (0, 1), scale: tuple[float, float] = (1.0, 0.0)) -> bytes:
    """Return a file of version 2 whose array is (Z, Y, X) and whose sform is AFFINE."""
    header = bytearray(544)
    struct.pack_into("<i8s2h", header, 0, 540, b"n+2\0\r\n\x1a\n", CODES[array.dtype.str[1:]], 8 * array.itemsize)
    struct.pack_into("<8q", header, 16, array.ndim, *array.shape[::-1], *[1] * (7 - array.ndim))
    struct.pack_into("<4d", header, 104, 1.0, 1.0, 1.0, 2.5)
    struct.pack_into("<q2d", header, 168, 544, *scale)
    struct.pack_into("<2i6d", header, 344, *codes, 0, 0, 1, 30, 40, -20)
    struct.pack_into("<12d", header, 400, *AFFINE.ravel())
    struct.pack_into("<i", header, 500, 2)
    return bytes(header) + array.tobytes()
