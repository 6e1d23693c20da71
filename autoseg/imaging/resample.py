"""Resampling between grids of one extent: outer voxel edges coincide, spacing is extent / shape."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.imaging.grid import Box, Voxels
from autoseg.labels import IGNORED, LabelMap

FloatArray = npt.NDArray[np.float32]
Clip = tuple[float, float]
Axes = tuple[FloatArray, FloatArray, FloatArray]  # one matrix (size_out, size_in) an axis
SLAB_VOXELS = 1 << 23  # about 32 MB of float32 at a time
CHUNK_VOXELS = 1 << 22  # of a label map that are voted on at a time
TIE = 1e-6  # shares that differ by less are equal


def axis_weights(size_in: int, size_out: int, averaging: bool = True) -> FloatArray:
    """Return the matrix (size_out, size_in) that resamples one axis; its rows sum to 1.

    Towards fewer voxels each new voxel is the mean over its own extent (no aliasing; a block mean for whole
    factors), if `averaging`. Else it is the linear interpolation at its centre, constant beyond the outer centres.

    >>> axis_weights(4, 2).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    >>> axis_weights(2, 4).tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    if size_in == size_out:
        return np.eye(size_in, dtype=np.float32)
    edges = np.linspace(0.0, size_in, size_out + 1)
    if size_out < size_in and averaging:
        cells = np.arange(size_in)
        overlap = np.minimum(edges[1:, None], cells + 1.0) - np.maximum(edges[:-1, None], cells)
        overlap = np.clip(overlap, 0.0, None)
        return np.asarray(overlap / overlap.sum(axis=1, keepdims=True), dtype=np.float32)
    centres = np.clip((edges[1:] + edges[:-1]) / 2 - 0.5, 0.0, size_in - 1.0)
    left = np.minimum(centres.astype(int), max(size_in - 2, 0))
    weights = np.zeros((size_out, size_in))
    rows = np.arange(size_out)
    weights[rows, left] = 1.0 - (centres - left)
    weights[rows, np.minimum(left + 1, size_in - 1)] += centres - left
    return weights.astype(np.float32)


def resample_image(image: npt.NDArray[Any], shape: Voxels, clips: Sequence[Clip] | None = None) -> FloatArray:
    """Resample an image to (C, *shape), slab by slab along Z; float32.

    Args:
        image: (C, Z, Y, X), of any type.
        shape: Voxels (Z, Y, X) of the new grid, of the same extent.
        clips: Lowest and highest value of each channel, to which it is clipped before; None: it is not.
    """
    clips = clips or [(-np.inf, np.inf)] * len(image)
    if image.shape[1:] == shape:
        return np.stack([_clipped(channel, clip) for channel, clip in zip(image, clips, strict=True)])
    weights_z, weights_y, weights_x = (axis_weights(i, o) for i, o in zip(image.shape[1:], shape, strict=True))
    out = np.zeros((len(image), *shape), dtype=np.float32)
    depth = max(1, SLAB_VOXELS // max(1, image.shape[2] * image.shape[3]))
    for channel, result, clip in zip(image, out, clips, strict=True):
        for start in range(0, image.shape[1], depth):
            slab = _clipped(channel[start : start + depth], clip)
            slab = weights_y @ (slab @ weights_x.T)
            share = weights_z[:, start : start + depth]
            rows = np.flatnonzero(share.any(axis=1))
            result[rows] += np.tensordot(share[rows], slab, axes=1)
    return out


def _clipped(part: npt.NDArray[Any], clip: Clip) -> FloatArray:
    values = part.astype(np.float32)
    return values if clip == (-np.inf, np.inf) else np.clip(values, *clip, out=values)


def resample_label(label: LabelMap, shape: Voxels) -> npt.NDArray[np.uint8]:
    """Resample a map of atoms (Z, Y, X) to `shape` by vote: the one with the largest share of the voxel.

    Atoms are never interpolated into one another; ties take the lowest. Where the truth is known in part of a voxel
    only, that part alone votes; it is known where at least half a voxel of the map is.
    """
    if label.shape == shape:
        return label.astype(np.uint8)
    objects = enumerate(ndimage.find_objects(label), start=1)
    boxes: dict[int, Box] = {value: box for value, box in objects if box is not None}
    ignored = boxes.pop(IGNORED, None)
    place = np.array([0, *boxes, *[0] * (IGNORED - len(boxes) - 1), IGNORED], dtype=np.uint8)
    return place[vote_classes(label, boxes, shape, None if ignored is None else IGNORED)]


def vote_classes(
    label: LabelMap, boxes: Mapping[int, Box], shape: Voxels, ignored: int | None = None
) -> npt.NDArray[np.uint8]:
    """Vote for the class of each voxel of a grid of `shape`: the one with the largest share of it.

    Worked out in the organs' boxes only. Background is a class too; ties take the lowest.

    Args:
        label: Label values (Z, Y, X).
        boxes: Value of each class to the box that holds it, in the order of the classes.
        shape: Voxels (Z, Y, X) of the new grid.
        ignored: Value whose voxels have no vote; None: all have one.

    Returns:
        0 for background, 1 for the first of `boxes`, and so on; IGNORED where fewer vote than half a voxel holds.
    """
    axes = all_weights(label.shape, shape)
    winner = np.zeros(shape, dtype=np.uint8)
    most = max(math.prod(label.shape), math.prod(shape))
    depth = max(1, CHUNK_VOXELS * shape[0] // most)
    for start in range(0, shape[0], depth):
        planes = slice(start, min(start + depth, shape[0]))
        shares = list(_shares(label, boxes, axes, planes))
        voting = None if ignored is None else _voting(label, ignored, axes, planes)
        if shares:
            _vote(shares, winner[planes], voting)
        if voting is not None:
            winner[planes][voting < _half_a_voxel(label.shape, shape)] = IGNORED
    return winner


def _voting(label: LabelMap, ignored: int, axes: Axes, planes: slice) -> FloatArray:
    """Return the share of each voxel of the planes whose truth is known (z, Y, X)."""
    depth = touched_rows(axes[0].T, planes)
    known = (label[depth] != ignored).astype(np.float32)
    return np.asarray(np.tensordot(axes[0][planes, depth], axes[1] @ (known @ axes[2].T), axes=1))


def _half_a_voxel(shape_in: Sequence[int], shape_out: Sequence[int]) -> float:
    """Return the share that half a voxel of one grid has of a voxel of another, at most a half."""
    return 0.5 * math.prod(min(1.0, new / old) for old, new in zip(shape_in, shape_out, strict=True)) - TIE


def all_weights(shape_in: Sequence[int], shape_out: Sequence[int], averaging: bool = True) -> Axes:
    """Return the matrix of `axis_weights` for each axis (Z, Y, X)."""
    z, y, x = (axis_weights(i, o, averaging) for i, o in zip(shape_in, shape_out, strict=True))
    return z, y, x


def touched_rows(matrix: FloatArray, columns: slice) -> slice:
    """Return the rows of a matrix of `axis_weights` (or its transpose) that take anything from `columns`.

    >>> touched_rows(axis_weights(8, 4), slice(3, 5))
    slice(1, 3, None)
    """
    rows = np.flatnonzero(matrix[:, columns].any(axis=1))
    return slice(int(rows[0]), int(rows[-1]) + 1)


def _shares(
    label: LabelMap, boxes: Mapping[int, Box], axes: Axes, planes: slice
) -> Iterator[tuple[int, Box, FloatArray]]:
    """Yield class, place within `planes` of the working grid, and share of each organ that is there."""
    for index, (value, box) in enumerate(boxes.items(), start=1):
        rows = [touched_rows(matrix, part) for matrix, part in zip(axes, box, strict=True)]
        z = slice(max(rows[0].start, planes.start), min(rows[0].stop, planes.stop))
        if z.start >= z.stop:
            continue
        depth = _overlap(touched_rows(axes[0].T, z), box[0])
        mask = (label[depth, box[1], box[2]] == value).astype(np.float32)
        share = axes[1][rows[1], box[1]] @ (mask @ axes[2][rows[2], box[2]].T)
        place = (slice(z.start - planes.start, z.stop - planes.start), rows[1], rows[2])
        yield index, place, np.tensordot(axes[0][z, depth], share, axes=1)


def _vote(
    shares: Sequence[tuple[int, Box, FloatArray]], winner: npt.NDArray[np.uint8], voting: FloatArray | None
) -> None:
    """Write into `winner` (Z, Y, X) the class of largest share, ties to the lowest; background has what is left."""
    best = np.ones(winner.shape, dtype=np.float32) if voting is None else voting.copy()
    for _, place, share in shares:
        best[place] -= share
    for index, place, share in shares:
        won = share > best[place] + TIE
        winner[place][won] = index
        best[place][won] = share[won]


def _overlap(a: slice, b: slice) -> slice:
    return slice(max(a.start, b.start), min(a.stop, b.stop))
