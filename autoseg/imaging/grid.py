"""Grids: where the voxels of a volume lie in the patient."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Voxels = tuple[int, int, int]  # (Z, Y, X)
Triple = tuple[float, float, float]
Box = tuple[slice, slice, slice]  # part of an array, (Z, Y, X)
Scalar = TypeVar("Scalar", bound=np.generic)

NEAR_VOXELS = 0.1  # grids whose corners are nearer than this share of a voxel are taken for one another
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A regular grid of voxels.

    Shape and spacing follow the arrays, (Z, Y, X). Origin and direction follow the file formats: patient
    coordinates x, y, z in mm, x to the patient's left, y to the back, z to the head (LPS).
    """

    shape: Voxels  # voxels (Z, Y, X)
    spacing_mm: Triple  # between voxel centres, (Z, Y, X)
    origin_mm: Triple = (0.0, 0.0, 0.0)  # centre of voxel (0, 0, 0), patient (x, y, z)
    direction: tuple[float, ...] = IDENTITY  # 3x3, row-major; column j is where the j-th of the axes (X, Y, Z) points

    @property
    def extent_mm(self) -> Triple:
        """Length of each axis from outer voxel edge to outer voxel edge, (Z, Y, X)."""
        z, y, x = (n * s for n, s in zip(self.shape, self.spacing_mm, strict=True))
        return z, y, x

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return voxel_ml(self.spacing_mm)

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return the 4x4 matrix that takes a voxel index (x, y, z, 1) to patient millimetres (x, y, z, 1)."""
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(self.direction, (3, 3)) @ np.diag(self.spacing_mm[::-1])
        affine[:3, 3] = self.origin_mm
        return affine

    def corners_mm(self) -> npt.NDArray[np.float64]:
        """Return the patient coordinates of the eight corner voxels' centres, shape (8, 3)."""
        z, y, x = (n - 1 for n in self.shape)
        index = np.array([[*c, 1.0] for c in itertools.product((0, x), (0, y), (0, z))], dtype=np.float64)
        return np.asarray((index @ self.matrix().T)[:, :3])


def voxel_ml(spacing_mm: Triple) -> float:
    """Return the volume of a voxel in millilitres.

    >>> voxel_ml((5.0, 0.5, 0.5))
    0.00125
    """
    return math.prod(spacing_mm) / 1000.0


def spacing_text(spacing_mm: Triple) -> str:
    """Return a spacing for a message.

    >>> spacing_text((2.5, 0.75, 0.75))
    '2.5 × 0.75 × 0.75'
    """
    return " × ".join(f"{mm:.4g}" for mm in spacing_mm)


def corner_distance_mm(a: Grid, b: Grid) -> float:
    """Return how far apart the corners of two grids lie at most, in mm; infinite where the shapes differ.

    >>> g = Grid(shape=(2, 3, 4), spacing_mm=(1.0, 1.0, 1.0))
    >>> corner_distance_mm(g, Grid(shape=(2, 3, 4), spacing_mm=(1.0, 1.0, 1.0), origin_mm=(0.0, 3.0, 4.0)))
    5.0
    """
    if a.shape != b.shape:
        return math.inf
    if a == b:
        return 0.0
    return float(np.linalg.norm(a.corners_mm() - b.corners_mm(), axis=1).max())


def lie_together(label: Grid, image: Grid) -> bool:
    """Return whether the voxels of a label map are its image's: at most half of the image's smallest voxel off.

    >>> image, *labels = (Grid(shape=(2, 3, 4), spacing_mm=(2, 1, 1), origin_mm=(x, 0, 0)) for x in (0, 0.5, 0.6))
    >>> [lie_together(label, image) for label in labels]
    [True, False]
    """
    return corner_distance_mm(label, image) <= min(image.spacing_mm) / 2


@dataclass(frozen=True)
class Reorientation:
    """Axis permutation and flips that bring an array to LPS, and back; no interpolation.

    The array's axes are first permuted (`array.transpose(axes)`), then flipped where `flips` says so.
    """

    axes: Voxels  # new axis i is the stored axis axes[i]
    flips: tuple[bool, bool, bool]  # of the new axes (Z, Y, X)

    def apply(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Return a view of `array` (…, Z, Y, X), as stored, with its axes along LPS."""
        lead = array.ndim - 3
        return self._flipped(array.transpose(*range(lead), *(lead + a for a in self.axes)))

    def undo(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Return a view of an LPS `array` (…, Z, Y, X) with its axes as stored; the inverse of `apply`."""
        lead = array.ndim - 3
        back = np.argsort(self.axes)
        return self._flipped(array).transpose(*range(lead), *(lead + int(a) for a in back))

    def _flipped(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        z, y, x = (slice(None, None, -1 if flip else 1) for flip in self.flips)
        return array[..., z, y, x]


def to_lps(grid: Grid) -> tuple[Reorientation, Grid]:
    """Return the permutation and flips that bring `grid` nearest to LPS, and the grid that it becomes.

    Oblique directions keep their obliqueness: only the nearest right-angled turn is undone.
    """
    direction = np.reshape(grid.direction, (3, 3))
    # order[i]: the stored axis (X, Y, Z) that lies nearest to patient axis i
    order = max(
        itertools.permutations(range(3)), key=lambda p: round(sum(abs(direction[i, j]) for i, j in enumerate(p)), 3)
    )
    flip_xyz = [bool(direction[i, j] < 0) for i, j in enumerate(order)]
    axes = tuple(2 - j for j in reversed(order))
    flips = tuple(reversed(flip_xyz))
    affine = grid.matrix()
    shape_xyz, spacing_xyz = grid.shape[::-1], grid.spacing_mm[::-1]
    first = [shape_xyz[j] - 1 if f else 0 for j, f in sorted(zip(order, flip_xyz, strict=True))]
    origin = affine[:3, :3] @ np.array(first) + affine[:3, 3]
    turned = np.stack([direction[:, j] * (-1 if f else 1) for j, f in zip(order, flip_xyz, strict=True)], axis=1)
    lps = Grid(
        shape=_triple_int([shape_xyz[j] for j in order][::-1]),
        spacing_mm=_triple([spacing_xyz[j] for j in order][::-1]),
        origin_mm=_triple(origin),
        direction=tuple(float(v) for v in turned.ravel()),
    )
    return Reorientation(_triple_int(axes), (flips[0], flips[1], flips[2])), lps


def resized(grid: Grid, shape: Voxels) -> Grid:
    """Return the grid of `shape` voxels that covers exactly the extent of `grid`.

    Outer edges coincide, so the spacing is extent / shape and the first voxel's centre moves.

    >>> resized(Grid(shape=(4, 4, 4), spacing_mm=(1.0, 1.0, 1.0)), (2, 2, 2)).origin_mm
    (0.5, 0.5, 0.5)
    """
    spacing = _triple([e / n for e, n in zip(grid.extent_mm, shape, strict=True)])
    shift_xyz = np.array([(new - old) / 2 for new, old in zip(spacing, grid.spacing_mm, strict=True)])[::-1]
    origin = np.array(grid.origin_mm) + np.reshape(grid.direction, (3, 3)) @ shift_xyz
    return Grid(shape=shape, spacing_mm=spacing, origin_mm=_triple(origin), direction=grid.direction)


def working_shape(grid: Grid, spacing_mm: Triple | None, downsampling: Triple, flat: int | None = None) -> Voxels:
    """Return the shape of the working grid of an image, at least 1 voxel on each axis.

    Args:
        grid: The image's own grid (LPS).
        spacing_mm: Spacing of the working grid (Z, Y, X), or None: divide by `downsampling`.
        downsampling: Factors (Z, Y, X), used where `spacing_mm` is None.
        flat: Axis along which slices stay as they are.

    >>> working_shape(Grid(shape=(460, 512, 512), spacing_mm=(1.0, 0.7, 0.7)), None, (4.0, 4.0, 4.0))
    (115, 128, 128)
    """
    if spacing_mm is None:
        exact = [n / f for n, f in zip(grid.shape, downsampling, strict=True)]
    else:
        exact = [e / s for e, s in zip(grid.extent_mm, spacing_mm, strict=True)]
    if flat is not None:
        exact[flat] = grid.shape[flat]
    return _triple_int([max(1, math.floor(n + 0.5)) for n in exact])


def _triple(values: npt.ArrayLike) -> Triple:
    z, y, x = (float(v) for v in np.asarray(values))
    return z, y, x


def _triple_int(values: npt.ArrayLike) -> Voxels:
    z, y, x = (int(v) for v in np.asarray(values))
    return z, y, x
