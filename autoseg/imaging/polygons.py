"""Polygons to voxels: which centres lie inside closed contours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]  # (points, 2): column, row; the centre of the first voxel is (0, 0)


def voxels_inside(rings: Sequence[Points], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the voxels whose centres lie in an odd number of closed contours, so that one within another is a hole.

    From a centre to the right the edges are counted that it meets. Each has its lower end and not its upper one, and
    none that it lies on counts: of two contours along one line exactly one has the centres on it.

    Args:
        rings: Points of each, the last joined to the first.
        shape: Rows, columns.

    >>> voxels_inside([np.array([[0.5, -0.5], [2.5, -0.5], [2.5, 1.5], [0.5, 1.5]])], (3, 4)).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    rows, columns = shape
    met = np.zeros(
        (rows, columns + 1), dtype=np.int64
    )  # edges that have their crossing left of a column, from the last
    for ring in rings:
        (x, y), (to_x, to_y) = ring.T, np.roll(ring, -1, axis=0).T
        first = np.clip(np.ceil(np.minimum(y, to_y)), 0, rows).astype(int)
        count = np.clip(np.ceil(np.maximum(y, to_y)), 0, rows).astype(int) - first
        edge = np.repeat(np.arange(len(ring)), count)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        at = x[edge] + (row - y[edge]) * (to_x - x)[edge] / (to_y - y)[edge]
        np.add.at(met, (row, np.clip(np.ceil(at), 0, columns).astype(int)), 1)
    to_the_right = met[:, ::-1].cumsum(axis=1)[:, ::-1]
    return np.asarray(to_the_right[:, 1:] % 2 == 1)
