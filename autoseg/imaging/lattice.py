"""Label maps that were saved cropped to their segments, as 3D Slicer does: brought back to the grid of their image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autoseg.imaging.grid import NEAR_VOXELS, Grid, Voxels


def offset_on_lattice(part: Grid, whole: Grid) -> Voxels | None:
    """Return at which voxel (Z, Y, X) of a grid another begins whose voxels are the same; None where they are not.

    It may be negative. Both grids have their axes along LPS.

    >>> whole = Grid(shape=(9, 9, 9), spacing_mm=(2.0, 1.0, 1.0))
    >>> offset_on_lattice(Grid(shape=(3, 3, 3), spacing_mm=(2.0, 1.0, 1.0), origin_mm=(5.0, 0.0, 4.0)), whole)
    (2, 0, 5)
    """
    to_index = np.linalg.inv(whole.matrix())
    corners = np.column_stack((part.corners_mm(), np.ones(8))) @ to_index.T
    own = np.column_stack((part.corners_mm(), np.ones(8))) @ np.linalg.inv(part.matrix()).T
    offset = np.rint(corners[0, :3])
    if np.abs(corners[:, :3] - own[:, :3] - offset).max() >= NEAR_VOXELS:
        return None
    x, y, z = (int(n) for n in offset)
    return z, y, x


def pad_label(array: npt.NDArray[np.int32], grid: Grid, whole: Grid) -> npt.NDArray[np.int32] | None:
    """Return a label map on the grid of its image, background where it has no voxels.

    Args:
        array: Label values (Z, Y, X).
        grid: Of the array.
        whole: Grid of the image.

    Returns:
        The label map, or None where it does not lie on the image's lattice or reaches beyond the image, or lacks
        voxels along one axis alone: then slices were lost.
    """
    offset = offset_on_lattice(grid, whole)
    if offset is None or sum(n != most for n, most in zip(grid.shape, whole.shape, strict=True)) < 2:
        return None
    if any(at < 0 or at + n > most for at, n, most in zip(offset, grid.shape, whole.shape, strict=True)):
        return None
    padded = np.zeros(whole.shape, dtype=array.dtype)
    padded[tuple(slice(at, at + n) for at, n in zip(offset, grid.shape, strict=True))] = array
    return padded
