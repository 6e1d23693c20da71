"""Surfaces of organs as triangles, smooth where the label map is made of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array, csr_array
from skimage.measure import marching_cubes

from autoseg.figures.planes import Labels
from autoseg.imaging.grid import Box, Triple

Field = npt.NDArray[np.float32]  # (Z, Y, X), from -0.5 outside an organ to 0.5 inside
Numbers = npt.NDArray[np.floating[Any]]

_MOST_VOXELS = 800_000  # of an organ's box when it is meshed: a triangle is then a few pixels of a figure
_WANTED_SHARE = 0.5  # of the most; smaller boxes are made finer up to this, so that light does not show their voxels
_SMOOTHING = 0.9  # standard deviation of the Gaussian, in steps of the grid that is meshed
_RAISES = 16  # enough for a single voxel
_EVENING = 40  # times that points are moved
_TAUBIN = (0.6, -0.615)  # towards the mean of their neighbours, and away from it
_MARGIN = 3  # steps around an organ, so that its surface is closed


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """The closed surface of an organ."""

    points_mm: Numbers  # (N, 3), Z, Y, X from the centre of the label map's first voxel
    normals: Numbers  # (N, 3), Z, Y, X, of length 1, pointing out of the organ
    triangles: npt.NDArray[np.int64]  # (M, 3), indices of points


def organ_mesh(
    mask: npt.NDArray[np.bool_],
    spacing_mm: Triple,
    first: tuple[int, int, int] = (0, 0, 0),
    most_voxels: int = _MOST_VOXELS,
) -> Mesh:
    """Return the smoothed surface of one organ.

    Boxes of many voxels are meshed on a coarser grid, thick slices are interpolated by shape; a structure too thin
    to outlast the smoothing is raised until it does.

    Args:
        mask: The organ's voxels in its box (Z, Y, X), at least one.
        spacing_mm: Voxel spacing (Z, Y, X).
        first: Where the box begins in the label map (Z, Y, X).
        most_voxels: That its box is to have, where it is one of many; never more than _MOST_VOXELS.

    Source: Lorensen & Cline 1987 (marching cubes); Raya & Udupa 1990 (interpolation by shape).
    """
    most = min(most_voxels, _MOST_VOXELS)
    strides = _strides(mask.shape, spacing_mm, most)
    steps: Numbers = np.asarray(spacing_mm) * strides
    start = (np.asarray(first) - 0.5) * spacing_mm - _MARGIN * steps  # outer corner of the margin
    field = _shares(mask, strides) - np.float32(0.5)
    if steps.max() >= 1.5 * np.sort(steps)[1]:
        field, steps = _between_slices(field, steps)
    field = _raised(field)
    finer = int(np.clip(round((_WANTED_SHARE * most / field.size) ** (1 / 3)), 1, 4))
    for axis in range(3):
        field = np.repeat(field, finer, axis=axis)
    field = ndimage.gaussian_filter(field, _SMOOTHING * finer, mode="nearest")
    points, triangles, _, _ = marching_cubes(field, 0.0)  # type: ignore[no-untyped-call]
    links = _links(triangles, len(points))
    points = _even((start + (points + 0.5) * steps / finer).astype(np.float32), links)
    return Mesh(points_mm=points, normals=_normals(points, triangles, links), triangles=triangles.astype(np.int64))


def _strides(shape: tuple[int, ...], spacing_mm: Triple, most_voxels: int = _MOST_VOXELS) -> tuple[int, int, int]:
    """Return how many voxels (Z, Y, X) become one, so that a box has about so many of equal sides."""
    volume_mm3 = float(np.prod([n * step for n, step in zip(shape, spacing_mm, strict=True)]))
    side_mm = max(min(spacing_mm), (volume_mm3 / most_voxels) ** (1 / 3))
    z, y, x = (max(1, round(side_mm / step)) for step in spacing_mm)
    return z, y, x


def _shares(mask: npt.NDArray[np.bool_], strides: tuple[int, int, int]) -> Field:
    """Return which share of each block of voxels is the organ's, with a margin of empty blocks."""
    margins = [(s * _MARGIN, s * _MARGIN + -n % s) for n, s in zip(mask.shape, strides, strict=True)]
    framed = np.pad(mask, margins)
    z, y, x = (n // s for n, s in zip(framed.shape, strides, strict=True))
    blocks = framed.reshape(z, strides[0], y, strides[1], x, strides[2])
    share: Field = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return share


def _raised(field: Field) -> Field:
    """Return a field raised where the organ is so thin that it would not outlast the smoothing."""
    organ = field > -0.5
    field = field.copy()
    for _ in range(_RAISES):
        thick = ndimage.gaussian_filter(field, _SMOOTHING, mode="nearest") > 0.15
        lost = organ & ~ndimage.binary_dilation(thick, np.ones((3, 3, 3)))
        if not lost.any():
            break
        field[lost] += 0.5
    return field


def _links(triangles: npt.NDArray[np.int64], count: int) -> csr_array:
    """Return the matrix (count, count) that takes every point to the mean of its neighbours."""
    one, other = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    pairs = (np.concatenate([one, other]), np.concatenate([other, one]))
    links = coo_array((np.ones(len(pairs[0]), np.float32), pairs), shape=(count, count)).tocsr()
    links.data /= np.repeat(links.sum(axis=1), np.diff(links.indptr))
    return links


def _even(points: Numbers, links: csr_array) -> Numbers:
    """Return points moved towards their neighbours and back again: steps vanish, while thin parts stay and keep size.

    Source: Taubin 1995, "A signal processing approach to fair surface design".
    """
    for _ in range(_EVENING):
        for share in _TAUBIN:
            points = points + np.float32(share) * (links @ points - points)
    return points


def _normals(points: Numbers, triangles: npt.NDArray[np.int32], links: csr_array) -> Numbers:
    """Return the normal at every point, evened: light falls on an organ, not on its voxels."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    areas = np.cross(c - a, b - a)  # (Z, Y, X) is a left-handed order
    sums = [np.bincount(triangles.ravel(), np.repeat(areas[:, axis], 3), len(points)) for axis in range(3)]
    normals: Numbers = np.stack(sums, axis=1)
    for _ in range(6):
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        normals = normals + links @ normals
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return normals


def _between_slices(field: Field, steps: Numbers) -> tuple[Field, Numbers]:
    """Return the field between thick slices, and its steps, by interpolating signed distances to the outlines."""
    axis = int(np.argmax(steps))
    thick, thin = float(steps[axis]), float(np.sort(steps)[1])
    apart = np.where(np.arange(3) == axis, 1e6, steps)  # distances stay within a slice
    inside = field >= 0 if (field >= 0).any() else field > field.min()
    distance = ndimage.distance_transform_edt(inside, apart) - ndimage.distance_transform_edt(~inside, apart)
    distance = np.clip(distance - np.sign(distance) * thin / 2, -2 * thick, 4 * thick)
    finer = round(thick / thin)
    places = np.clip((np.arange(field.shape[axis] * finer) + 0.5) / finer - 0.5, 0, field.shape[axis] - 1)
    below = np.minimum(places.astype(int), field.shape[axis] - 2)
    share = np.expand_dims(places - below, tuple(a for a in range(3) if a != axis))
    between = distance.take(below, axis) * (1 - share) + distance.take(below + 1, axis) * share
    own = np.rint(places).astype(int)
    in_slice = np.expand_dims(np.abs(places - own) < 0.75 / finer, tuple(a for a in range(3) if a != axis))
    between = np.maximum(between, np.where(in_slice & inside.take(own, axis), 0, -np.inf))  # an organ of few voxels
    return np.clip(between / thin, -0.5, 0.5).astype(np.float32), np.where(np.arange(3) == axis, steps / finer, steps)


def crowding(
    labels: Labels, boxes: Mapping[int, Box], spacing_mm: Triple, points_mm: Numbers, normals: Numbers
) -> Numbers:
    """Return how much of what lies before each point is filled by organs, 0 (free) to 1: where light hardly comes.

    Args:
        labels: Label map (Z, Y, X).
        boxes: Of the organs, by value.
        spacing_mm: Voxel spacing (Z, Y, X).
        points_mm: Points (N, 3) of surfaces, as in `Mesh`.
        normals: Their normals (N, 3).
    """
    bounds = [(min(b[i].start for b in boxes.values()), max(b[i].stop for b in boxes.values())) for i in range(3)]
    box = tuple(slice(first, last) for first, last in bounds)
    strides = _strides(tuple(last - first for first, last in bounds), spacing_mm)
    share = _shares(np.isin(labels[box], list(boxes)), strides)
    steps = np.asarray(strides) * spacing_mm
    reach_mm = max(0.03 * float(np.linalg.norm(steps * share.shape)), float(steps.max()))
    blurred = ndimage.gaussian_filter(share, reach_mm / steps, mode="constant")
    origin = np.array([first for first, _ in bounds]) * spacing_mm + (np.asarray(strides) - 1) / 2 * spacing_mm
    origin = origin - _MARGIN * steps
    places = ((points_mm + reach_mm * normals - origin) / steps).T
    filled = ndimage.map_coordinates(blurred, places, order=1, mode="constant")
    free: float = 0.16  # a flat surface fills this much, one standard deviation before it
    crowded: Numbers = np.clip((filled - free) / (1 - free), 0, 1)
    return crowded
