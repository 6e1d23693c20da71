"""A reader of contours that asks where voxels' centres lie, by every rule that readers know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autoseg.inference.outputs.contours import Points

Mask = npt.NDArray[np.bool_]


def inside(ring: Points, shape: Sequence[int]) -> tuple[Mask, Mask]:
    """Return the voxels whose centres lie in a polygon by each rule: an odd number of crossings; any winding."""
    rows, columns = np.indices(shape)
    crossings, windings = np.zeros(shape, int), np.zeros(shape, int)
    for (x, y), (to_x, to_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y != to_y:
            met = slice(*sorted(max(0, int(np.ceil(at))) for at in (y, to_y)))  # rows, with the upper end of an edge
            left = columns[met] < x + (rows[met] - y) * (to_x - x) / (to_y - y)
            crossings[met] += left
            windings[met] += left if y < to_y else -left.astype(int)
    return crossings % 2 == 1, windings != 0


def filled(rings: Sequence[Points], shape: Sequence[int]) -> Mask:
    """Return the voxels inside contours; every way to count and to combine them must give the same."""
    found = [mask for ring in rings for mask in inside(ring, shape)]
    sums = [np.sum(found[rule::2], axis=0) if found else np.zeros(shape, int) for rule in (0, 1)]
    assert max(sums[0].max(), sums[1].max()) <= 1  # so that union, XOR and sum agree
    np.testing.assert_array_equal(sums[0], sums[1])
    return sums[0] == 1
