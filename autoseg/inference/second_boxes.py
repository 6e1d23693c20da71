"""Where a second stage looks: a box around what the first sees of the organs, or several where these lie far apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage

from autoseg.imaging.boxes import box_around, group_boxes
from autoseg.imaging.grid import Box, Grid, Voxels
from autoseg.labels import Atoms

MAIN = 0.9  # of an organ's voxels: its largest pieces that hold so many are one part, each other piece is one by itself
WORTH = 0.5  # of the voxels of the box around all parts: boxes that hold fewer together take its place
MOST_PARTS = 100  # beyond them the first stage sees noise, and all of it lies in one box
TOUCHING = np.ones((3, 3, 3), dtype=bool)


def look_boxes(
    coarse: Atoms,
    classes: Sequence[int],
    grid: Grid,
    margin_mm: float,
    least: Voxels = (1, 1, 1),
    *,
    is_one: bool = False,
) -> tuple[Box, ...]:
    """Return the boxes (voxels of the image) in which a second stage looks; none where the first sees no organ of it.

    They neither overlap nor share a face. There is one, unless several hold less than half of its voxels: an organ far
    from the others has a box of its own, and so has a piece of an organ far from its main ones, which may be an error.

    Args:
        coarse: The first stage's mask on its working grid (Z, Y, X).
        classes: Of the organs; disjoint, so that they are atoms.
        grid: Of the image.
        margin_mm: That a box shows around what the first stage sees.
        least: Voxels of the image (Z, Y, X) that a box has at least, where the image has so many.
        is_one: Whether there is one box, however far apart the organs lie.
    """
    main, apart = _parts(coarse, classes)
    parts = [at_least(_in_image(part, coarse, grid, margin_mm), grid.shape, least) for part in (*main, *apart)]
    whole = box_around(parts)
    if whole is None or is_one or len(parts) > MOST_PARTS:
        return () if whole is None else (whole,)
    boxes = disjoint(parts)
    return boxes if sum(map(voxels_of, boxes)) < WORTH * voxels_of(whole) else (whole,)


def training_box(coarse: Atoms, classes: Sequence[int], grid: Grid, margin_mm: float) -> Box | None:
    """Return the one box of a case that a second stage learns from; None where the first sees no organ of it.

    Pieces apart from the main ones are left out where the box is less than half as large without them.
    Arguments are the first ones of `look_boxes`.
    """
    main, apart = ([_in_image(part, coarse, grid, margin_mm) for part in parts] for parts in _parts(coarse, classes))
    whole, without = box_around((*main, *apart)), box_around(main)
    if whole is None or without is None:
        return None
    return without if voxels_of(without) < WORTH * voxels_of(whole) else whole


def reach_mm(coarse: Atoms, truth: Atoms, classes: Sequence[int], working: Grid) -> float:
    """Return how far the true organs reach out of the box that a case would have without a margin; 0 without a box.

    The truth on a coarse grid ends up to a voxel short, so it is taken to reach a voxel further, as the box does.

    Args:
        coarse: The first stage's mask on its working grid (Z, Y, X).
        truth: On the same grid.
        classes: Of the organs.
        working: That grid.
    """
    spacing_mm = working.spacing_mm
    box, true = training_box(coarse, classes, working, 0.0), group_boxes(truth, {0: classes})[0]
    if box is None or true is None:
        return 0.0
    sides = zip(box, widened(true, working, spacing_mm, spacing_mm), spacing_mm, strict=True)
    return float(max(mm * max(0, seen.start - part.start, part.stop - seen.stop) for seen, part, mm in sides))


def disjoint(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Return boxes of which those that overlap or share a part of a face are joined, until none do.

    >>> [box[0] for box in disjoint([(slice(0, 4),) * 3, (slice(6, 9),) * 3, (slice(3, 7),) * 3, (slice(9, 10),) * 3])]
    [slice(0, 9, None), slice(9, 10, None)]
    >>> disjoint([(slice(0, 4), slice(0, 4), slice(0, 4)), (slice(4, 6), slice(3, 5), slice(0, 1))])
    ((slice(0, 6, None), slice(0, 5, None), slice(0, 4, None)),)
    """
    apart: list[Box] = []
    due = list(boxes)[::-1]
    while due:
        box = due.pop()
        other = next((one for one in apart if _meet(one, box)), None)
        if other is None:
            apart.append(box)
        elif (joint := box_around((box, other))) is not None:
            apart.remove(other)
            due.append(joint)
    return tuple(apart)


def widened(box: Box, grid: Grid, before_mm: Sequence[float], behind_mm: Sequence[float]) -> Box:
    """Return a box that reaches further on each side, but not beyond the image.

    Args:
        box: Voxels of the image.
        grid: Of the image.
        before_mm: How much further towards the first voxel of each axis (Z, Y, X).
        behind_mm: How much further towards the last one.

    >>> grid = Grid(shape=(9, 9, 9), spacing_mm=(2.0, 1.0, 1.0))
    >>> widened((slice(4, 6), slice(4, 6), slice(0, 9)), grid, (3, 3, 3), (0, 9, 9))
    (slice(2, 6, None), slice(1, 9, None), slice(0, 9, None))
    """
    sides = zip(box, grid.shape, grid.spacing_mm, before_mm, behind_mm, strict=True)
    z, y, x = (
        slice(max(0, part.start - math.ceil(before / mm)), min(n, part.stop + math.ceil(behind / mm)))
        for part, n, mm, before, behind in sides
    )
    return z, y, x


def at_least(box: Box, full: Voxels, least: Voxels) -> Box:
    """Return a box of at least some voxels on each axis (Z, Y, X), or all of the image's.

    It grows on both sides alike, but where the image ends.

    >>> at_least((slice(4, 6), slice(0, 1), slice(0, 9)), (9, 9, 9), (6, 6, 99))
    (slice(2, 8, None), slice(0, 6, None), slice(0, 9, None))
    """
    sizes = [max(part.stop - part.start, min(size, n)) for part, n, size in zip(box, full, least, strict=True)]
    starts = [
        min(max(0, part.start - (size - part.stop + part.start) // 2), n - size)
        for part, n, size in zip(box, full, sizes, strict=True)
    ]
    z, y, x = (slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    return z, y, x


def voxels_of(box: Box) -> int:
    """Return how many voxels a box has."""
    return math.prod(part.stop - part.start for part in box)


def _parts(coarse: Atoms, classes: Sequence[int]) -> tuple[list[Box], list[Box]]:
    """Return boxes on the working grid: one around the main pieces of each organ, and those of all other pieces."""
    main: list[Box] = []
    apart: list[Box] = []
    for index, around in group_boxes(coarse, {index: (index,) for index in classes}).items():
        if around is None:
            continue
        pieces, _ = ndimage.label(coarse[around] == index, TOUCHING)
        voxels = np.bincount(pieces.ravel())[1:]
        order = np.argsort(-voxels, kind="stable")
        enough = int(np.searchsorted(np.cumsum(voxels[order]), MAIN * voxels.sum())) + 1
        boxes = [_within(around, piece) for piece in ndimage.find_objects(pieces)]
        largest = box_around(boxes[n] for n in order[:enough])
        main += [] if largest is None else [largest]
        apart += [boxes[n] for n in order[enough:]]
    return main, apart


def _within(outer: Box, inner: Box) -> Box:
    """Return a box of a part, given in the voxels of that, in the voxels of the whole."""
    z, y, x = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(outer, inner, strict=True))
    return z, y, x


def _in_image(part: Box, coarse: Atoms, grid: Grid, margin_mm: float) -> Box:
    """Return a box of the working grid in voxels of the image, with a margin.

    It reaches a voxel of the working grid further: interpolation takes an organ no farther.
    """
    z, y, x = (
        slice(max(0, math.floor((side.start - 1) * n / m)), min(n, math.ceil((side.stop + 1) * n / m)))
        for side, n, m in zip(part, grid.shape, coarse.shape, strict=True)
    )
    return widened((z, y, x), grid, [margin_mm] * 3, [margin_mm] * 3)


def _meet(one: Box, other: Box) -> bool:
    common = [min(a.stop, b.stop) - max(a.start, b.start) for a, b in zip(one, other, strict=True)]
    return min(common) >= 0 and common.count(0) <= 1
