"""Label maps on other parts of their image's voxels, as 3D Slicer crops them: brought to the grid of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.grid import NEAR_VOXELS, Box, Grid, Voxels, corner_distance_mm, lie_together

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A label map on the grid of its image."""

    array: Labels  # (Z, Y, X)
    padded: bool  # whether the image has voxels that the label map lacks
    cut: int  # voxels that lie beyond the image
    organ_cut: int  # of them those that are not background


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


def fit_label(array: Labels, grid: Grid, whole: Grid, sparse: bool = False) -> Fitted | None:
    """Return a label map on the grid of its image: background where it has no voxels, without those beyond the image.

    Args:
        array: Label values (Z, Y, X).
        grid: Of the array.
        whole: Grid of the image.
        sparse: Whether slices without organs may be left out, as in DICOM SEG.

    Returns:
        The label map, or None where it does not lie on the image's lattice, or lacks voxels along one axis alone: then
        slices were lost, unless it is sparse.
    """
    offset = offset_on_lattice(grid, whole)
    if offset is None:
        return None
    ends = [(at, at + n, most) for at, n, most in zip(offset, grid.shape, whole.shape, strict=True)]
    lacking = sum(at > 0 or end < most for at, end, most in ends)
    if lacking == 1 and not sparse:
        return None
    inside: Box = _box([(max(at, 0) - at, max(min(end, most), at, 0) - at) for at, end, most in ends])
    place: Box = _box([(max(at, 0), max(min(end, most), at, 0)) for at, end, most in ends])
    part = array[inside]
    fitted = np.zeros(whole.shape, dtype=array.dtype)
    fitted[place] = part
    cut = array.size - part.size
    organ_cut = int(np.count_nonzero(array) - np.count_nonzero(part)) if cut else 0
    return Fitted(array=fitted, padded=lacking > 0, cut=cut, organ_cut=organ_cut)


def union_grid(one: Grid, other: Grid) -> Grid | None:
    """Return the smallest grid that holds two on one lattice; None where they lie on two.

    >>> one = Grid(shape=(3, 3, 3), spacing_mm=(1.0, 1.0, 1.0))
    >>> union_grid(one, Grid(shape=(3, 3, 3), spacing_mm=(1.0, 1.0, 1.0), origin_mm=(-1.0, 0.0, 2.0))).shape
    (5, 3, 4)
    """
    offset = offset_on_lattice(other, one)
    if offset is None:
        return None
    first = [min(0, at) for at in offset]
    last = [max(n, at + m) for n, m, at in zip(one.shape, other.shape, offset, strict=True)]
    z, y, x = (end - start for start, end in zip(first, last, strict=True))
    origin = one.matrix() @ np.array([*first[::-1], 1.0])
    return Grid(
        shape=(z, y, x),
        spacing_mm=one.spacing_mm,
        origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=one.direction,
    )


def _box(ends: list[tuple[int, int]]) -> Box:
    z, y, x = (slice(start, end) for start, end in ends)
    return z, y, x


def require_together(what: object, label: Grid, image: Grid) -> None:
    """Refuse a label map that does not lie on its image.

    Args:
        what: The case, or the file of the label map, for the message.
        label: Its grid (LPS).
        image: Grid of the image (LPS).

    Raises:
        VolumeError: If their shapes differ, or their corners lie more than half a voxel apart.
    """
    if not lie_together(label, image):
        voxels = f"{what}: image {image.shape} and label {label.shape}"
        if label.shape != image.shape:
            raise VolumeError(f"{voxels} differ in shape; resample the label map to the image")
        apart = corner_distance_mm(label, image)
        raise VolumeError(
            f"{voxels} lie {apart:.1f} mm apart; copy the image's header to the label map if their voxels correspond, "
            "else resample it to the image"
        )
