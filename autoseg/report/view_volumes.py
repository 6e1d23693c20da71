"""The volumes of a view: reduced to what a page can hold, and written as it reads them."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.imaging.grid import Grid, Voxels, resized
from autoseg.imaging.volumes import write_array
from autoseg.labels import Atoms

MOST_VOXELS = 60_000_000  # of a page: more is slow to open and fills the memory of small graphics cards
_LOW, _STEPS = -32768, 65535  # of int16

Image = npt.NDArray[Any]  # (Z, Y, X)


def as_int16(image: Image, ct: bool) -> tuple[npt.NDArray[np.int16], float, float]:
    """Return voxels with the slope and intercept that make them intensities again; whole numbers stay exact."""
    low, high = float(image.min()), float(image.max())
    if ct:
        return np.clip(np.rint(image), _LOW, _LOW + _STEPS).astype(np.int16), 1.0, 0.0
    if image.dtype.kind in "iu" and high - low <= _STEPS:
        intercept = 0.0 if low >= _LOW and high <= _LOW + _STEPS else low - _LOW
        return (image.astype(np.int64) - int(intercept)).astype(np.int16), 1.0, intercept
    slope = (high - low) / _STEPS or 1.0
    raw = np.rint((image.astype(np.float64) - low) / slope) + _LOW
    return raw.astype(np.int16), slope, low - _LOW * slope


def factors_of(grid: Grid) -> Voxels:
    """Return by what to reduce a grid that is too large for a page (Z, Y, X): its two finest axes, by the same."""
    across = int(np.argmax(grid.spacing_mm))
    for factor in range(1, max(grid.shape) + 1):
        factors = [1 if axis == across else factor for axis in range(3)]
        if math.prod(-(-n // by) for n, by in zip(grid.shape, factors, strict=True)) <= MOST_VOXELS:
            break
    return factors[0], factors[1], factors[2]


def _padded(array: Image, factors: Voxels) -> Image:
    """Return an array whose sides the factors divide; the last voxels are repeated."""
    return np.pad(array, [(0, -n % by) for n, by in zip(array.shape, factors, strict=True)], mode="edge")


def reduced_image(image: Image, factors: Voxels) -> Image:
    """Return the means of blocks of voxels, as float32; the image itself where nothing is to be reduced."""
    if max(factors) == 1:
        return image
    padded = _padded(image, factors)
    z, y, x = (n // by for n, by in zip(padded.shape, factors, strict=True))
    blocks = padded.reshape(z, factors[0], y, factors[1], x, factors[2])
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))


def reduced_atoms(atoms: Atoms, factors: Voxels) -> Atoms:
    """Return of each block of voxels the one in its middle."""
    z, y, x = (slice(by // 2, None, by) for by in factors)
    return _padded(atoms, factors)[z, y, x]


def reduced_grid(grid: Grid, factors: Voxels) -> Grid:
    """Return the grid of the blocks' middles."""
    z, y, x = (-(-n // by) for n, by in zip(grid.shape, factors, strict=True))
    return resized(replace(grid, shape=(z * factors[0], y * factors[1], x * factors[2])), (z, y, x))


def nifti_bytes(array: Image, grid: Grid) -> bytes:
    """Return a NIfTI file's bytes; its axes run to the right, front and head, as those of the page's drawing do."""
    _, y, x = grid.shape
    turned = replace(
        grid,
        origin_mm=tuple((grid.matrix() @ (x - 1, y - 1, 0, 1))[:3].tolist()),
        direction=tuple((np.reshape(grid.direction, (3, 3)) * (-1, -1, 1)).ravel().tolist()),
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "volume.nii.gz"
        write_array(file, array[:, ::-1, ::-1], turned)
        return file.read_bytes()
