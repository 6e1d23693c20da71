"""Contours of a mask's slice, midway between voxels inside and outside; each is one closed polygon, holes and all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import contourpy
import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]  # (points, 2): column, row; the centre of the first voxel is (0, 0)


def slice_contours(inside: npt.NDArray[np.bool_]) -> list[Points]:
    """Return the contours of a slice; none lies within another, so their sum, union and XOR are all the same.

    They cross the line between the centres of a voxel inside and one outside at its middle, and cut corners straight.
    A reader that asks whether a voxel's centre lies inside gets the slice back, whether it counts crossings or
    windings: the nearest centre is at least a third of a voxel edge away.

    A hole becomes a part of its contour by the keyhole technique (DICOM PS3.3 C.8.8.6.3): a channel of no width that
    runs midway between two columns of voxels inside, so that no centre lies on it.

    Args:
        inside: Which voxels the organ has (rows, columns); beyond its edge there is no organ.

    Returns:
        For each contour its points (points, 2) as column and row in voxels; the last is joined to the first, and no
        three in a row lie on a line.
    """
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return []
    box = np.pad(inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    lines = contourpy.contour_generator(z=box.astype(np.float64), fill_type=contourpy.FillType.OuterOffset)
    polygons, offsets = cast(tuple[list[Points], list[npt.NDArray[np.uint32]]], lines.filled(0.5, 2.0))
    shift = np.array([columns[0] - 1, rows[0] - 1])
    return [
        _without_needless(_with_keyholes([ring[:-1] for ring in np.split(polygon, ends[1:-1])])) + shift
        for polygon, ends in zip(polygons, offsets, strict=True)
    ]


def _with_keyholes(rings: Sequence[Points]) -> Points:
    """Return a polygon and its holes as one ring.

    The topmost hole comes first. Its channel goes up from the left end of its topmost row, and ends where it meets the
    ring: only voxels of the organ lie beside it on the way, and every hole that it could meet is in the ring already.

    Args:
        rings: The outer one and those of the holes, open (points, 2).
    """
    whole, *holes = rings
    starting = []
    for hole in holes:
        between = np.flatnonzero(hole[:, 0] % 1)  # points between two columns
        first = between[np.lexsort((hole[between, 0], hole[between, 1]))[0]]
        starting.append(np.roll(hole, -first, axis=0))
    for hole in sorted(starting, key=lambda ring: float(ring[0, 1])):
        column, row = hole[0]
        x, y = whole.T
        met = (x == column) | ((x - column) * (np.roll(x, -1) - column) < 0)  # only level lines cross between points
        at = int(np.argmax(np.where(met & (y < row), y, -np.inf)))
        meeting = np.array([[column, y[at]]])
        whole = np.vstack([whole[: at + 1], meeting, hole, hole[:1], meeting, whole[at + 1 :]])
    return whole


def _without_needless(ring: Points) -> Points:
    """Return a ring (points, 2) without doubled points and those on a straight way."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns: npt.NDArray[np.bool_] = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    returns = (before * after).sum(axis=1) < 0
    return np.asarray(ring[turns | returns])
