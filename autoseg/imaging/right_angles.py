"""Axes as files give them, brought to a grid: its axes are at right angles, its voxels of a size that can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.grid import NEAR_VOXELS, Grid, Voxels, corner_distance_mm, spacing_text
from autoseg.imaging.remarks import Remark

Floats = npt.NDArray[np.float64]
MOST_EXTENT_MM = 4000.0  # no scanner is longer; beyond it the unit is wrong
PIXEL_MM = 1.0  # of which there may be any number: so pictures that are counted in pixels say it
LEAST_SPACING_MM = 1e-6  # an electron microscope's
SAME_VOXELS = 0.01  # corners nearer than this share of a voxel are where they were


def is_usable(affine: Floats) -> bool:
    """Return whether the columns of a matrix are finite and its first three, the steps along the axes, not zero."""
    return bool(np.isfinite(affine).all() and np.linalg.norm(affine[:, :3], axis=0).min() > 0)


def grid_of_axes(
    shape: Voxels, axes: Floats, origin: Sequence[float] | Floats, source: object
) -> tuple[Grid, tuple[Remark, ...]]:
    """Return the grid whose axes are given, or the nearest that has right angles.

    Args:
        shape: Voxels (Z, Y, X).
        axes: 3x3; column j is one step along the j-th of the axes (X, Y, Z), in patient millimetres (LPS).
        origin: Centre of voxel (0, 0, 0), patient (x, y, z), LPS.
        source: What the image is called in messages.

    Raises:
        VolumeError: As `right_angled`.
    """
    lengths = np.linalg.norm(axes, axis=0)
    place = np.asarray(origin, dtype=np.float64)
    if not (np.isfinite(lengths).all() and np.isfinite(place).all() and lengths.min() > 0):
        raise VolumeError(f"{source}: its spacing or direction is not that of a grid ({axes.tolist()}); correct it")
    return right_angled(_grid(shape, axes / lengths, lengths, place), source)


def right_angled(grid: Grid, source: object) -> tuple[Grid, tuple[Remark, ...]]:
    """Return a grid as it is, or the nearest with right angles where its corners are less than 0.1 voxel off.

    Headers round, and so do converters. The nearest grid has the same centre and the same steps.

    Raises:
        VolumeError: If the voxels have a size that cannot be, or the axes are not at right angles, as from a tilted
            gantry: a mask cannot be written on such a grid in every format, and would lie elsewhere.
    """
    require_possible(grid, source)
    if _is_turn_of_axes(grid.direction):
        return grid, ()
    axes = np.reshape(grid.direction, (3, 3)) * grid.spacing_mm[::-1]
    lengths = np.linalg.norm(axes, axis=0)
    if not lengths.min() > 0:
        raise VolumeError(f"{source}: its header is not a grid (direction {grid.direction}); export it again")
    left, _, right = np.linalg.svd(axes / lengths)
    turn = left @ right
    half = (np.array(grid.shape[::-1]) - 1) / 2
    place = np.array(grid.origin_mm) + axes @ half - (turn * lengths) @ half
    nearest = _grid(grid.shape, turn, lengths, place)
    off = corner_distance_mm(grid, nearest)
    voxel = float(lengths.min())
    skewed = float(np.abs(turn - axes / lengths).max()) > 2 * NEAR_VOXELS  # whatever the number of voxels
    if off <= SAME_VOXELS * voxel and not skewed and np.allclose(lengths, grid.spacing_mm[::-1], rtol=1e-3):
        return grid, ()
    if skewed or off >= NEAR_VOXELS * voxel:
        raise VolumeError(
            f"{source}: its axes are not at right angles, as from a tilted gantry (the nearest such grid lies "
            f"{off:.2g} mm off); resample it to a grid with right angles"
        )
    found = f"its axes are not quite at right angles; the nearest grid with right angles is taken, {off:.2g} mm off"
    return nearest, (Remark(code="right-angles", found=found, fix="nothing"),)


def _is_turn_of_axes(direction: Sequence[float]) -> bool:
    """Return whether each axis points exactly along one of the patient's, as in most files."""
    rows = direction[:3], direction[3:6], direction[6:]
    lines = (*rows, *zip(*rows, strict=True))
    return all(sorted(map(abs, line)) == [0.0, 0.0, 1.0] for line in lines)


def require_possible(grid: Grid, source: object) -> None:
    """Refuse a grid that is none, or whose voxels have a size that cannot be.

    Args:
        grid: As its file says.
        source: What the image is called in messages.

    Raises:
        VolumeError: If it is so.
    """
    spacing = np.array(grid.spacing_mm)
    if not (np.isfinite(spacing).all() and spacing.min() > 0 and min(grid.shape) > 0):
        raise VolumeError(
            f"{source}: its header is not a grid (size {grid.shape}, spacing {grid.spacing_mm}, both (Z, Y, X)); "
            "export it again"
        )
    if not (np.isfinite(grid.origin_mm).all() and np.isfinite(grid.direction).all()):
        raise VolumeError(f"{source}: its header is not a grid (origin {grid.origin_mm}); export it again")
    lengths = [mm for mm, step in zip(grid.extent_mm, grid.spacing_mm, strict=True) if step > PIXEL_MM]
    if max(lengths, default=0.0) > MOST_EXTENT_MM or spacing.min() < LEAST_SPACING_MM:
        extent = " × ".join(f"{mm / 1000:.3g}" for mm in grid.extent_mm)
        raise VolumeError(
            f"{source}: voxels of {spacing_text(grid.spacing_mm)} mm (Z, Y, X) make an image of {extent} m, which "
            "cannot be; correct the spacing or its unit in the header"
        )


def _grid(shape: Voxels, direction: Floats, lengths: Floats, place: Floats) -> Grid:
    x, y, z = (float(length) for length in lengths)
    return Grid(
        shape=shape,
        spacing_mm=(z, y, x),
        origin_mm=(float(place[0]), float(place[1]), float(place[2])),
        direction=tuple(float(v) for v in direction.ravel()),
    )
