"""A phantom: CT-like volumes of an abdomen with seven labelled organs, made from two numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.imaging.grid import Grid
from autoseg.phantom.body import FAT_HU, Tissue, Torso, draw_enhancement, draw_frame, draw_torso
from autoseg.phantom.organs import ORGANS, draw_organs
from autoseg.phantom.shapes import Floats, smooth_field

__all__ = ["ORGANS", "USUAL", "Detail", "PhantomCase", "phantom_case"]

AIR_HU = -1000.0


@dataclass(frozen=True, kw_only=True)
class Detail:
    """How fine phantoms are, and their vessels."""

    has_thin_vessels: bool = False  # artery and vein as branching trees of 3 to 8 mm; the aorta is then no artery
    finer: tuple[int, int] = (1, 1)  # how many times the usual slices, and rows and columns


USUAL = Detail()


@dataclass(frozen=True)
class PhantomCase:
    """One volume with its labels."""

    image: npt.NDArray[np.int16]  # HU (Z, Y, X)
    label: npt.NDArray[np.uint8]  # 0, or 1 + index into ORGANS, (Z, Y, X)
    grid: Grid


@dataclass(frozen=True)
class Canvas:
    """What is painted on: one volume and where its voxels lie in the body."""

    image: Floats  # HU (Z, Y, X)
    label: npt.NDArray[np.uint8]  # (Z, Y, X)
    mottle: Floats  # unit unevenness of the tissues (Z, Y, X)
    points: Floats  # (3, Z, Y, X) mm
    reach: tuple[tuple[Floats, Floats], ...]  # least and greatest z of each slice, y of each row, x of each column


@dataclass(frozen=True)
class Pose:
    """How a body lies in the scanner."""

    scale: tuple[float, float, float]  # of the body, (z, y, x)
    roll_deg: float  # about the head-foot axis
    offset_mm: tuple[float, float]  # of the table's middle from the body's, (y, x)


def phantom_case(seed: int, index: int, detail: Detail = USUAL) -> PhantomCase:
    """Return case `index` of the cohort `seed`: the same for the same two numbers.

    Args:
        seed: Which cohort, at least 0.
        index: Which case of it, at least 0.
        detail: How fine.

    Returns:
        About 65 slices of 90 x 125 voxels, in LPS, where it is as usual; positions, sizes, spacing and contrast phase
        differ between cases.
    """
    rng = np.random.default_rng((seed, index))
    torso, enhancement = draw_torso(rng), draw_enhancement(rng)
    pose, grid, axes_mm = _draw_scan(rng, torso, detail.finer)
    fixed = _body_points(axes_mm, pose)
    sways = [smooth_field(rng, axes_mm, 70.0, 3.0) + smooth_field(rng, axes_mm, 26.0, 1.3) for _ in range(3)]
    swaying = fixed + np.stack(sways)
    mottle = smooth_field(rng, axes_mm, 9.0, 1.0)

    canvas = _canvas(fixed, _table(fixed, torso), np.zeros(grid.shape, np.uint8), mottle)
    for part in draw_frame(rng, torso, enhancement):
        _paint(part, canvas)
    canvas = _canvas(swaying, canvas.image, canvas.label, mottle)
    for part in draw_organs(rng, torso, enhancement, has_thin_vessels=detail.has_thin_vessels):
        _paint(part, canvas)
    return PhantomCase(_scanned(rng, canvas.image), canvas.label, grid)


def _draw_scan(rng: np.random.Generator, torso: Torso, finer: tuple[int, int]) -> tuple[Pose, Grid, list[Floats]]:
    """Return the body's pose, the volume's grid, and the coordinates of its voxels along z, y, x in mm."""
    scale = rng.uniform(0.94, 1.04) * rng.uniform(0.97, 1.03, 3)
    pose = Pose(
        (float(scale[0]), float(scale[1]), float(scale[2])),
        float(rng.uniform(-5, 5)),
        (float(rng.uniform(-3, 3)), float(rng.uniform(-5, 5))),
    )
    skin = torso.skin
    low = np.array((rng.uniform(-104, -92), -skin.front_mm - 8, -skin.half_width_mm - 9)) * scale
    high = np.array((rng.uniform(90, 104), skin.back_mm + 16, skin.half_width_mm + 9)) * scale
    extent = high - low
    in_plane = round(float(extent[2] / (finer[1] * rng.integers(114, 135))), 3)
    slices = finer[0] * int(rng.integers(52, 80))
    spacing = (round(float(extent[0] / slices), 2), in_plane, in_plane)
    shape = (slices, round(float(extent[1] / in_plane)), round(float(extent[2] / in_plane)))
    x, y, z = (round(float(v), 1) for v in rng.uniform(-250, 250, 3))
    axes = [(a + s * np.arange(n)).astype(np.float32) for a, s, n in zip(low, spacing, shape, strict=True)]
    return pose, Grid(shape=shape, spacing_mm=spacing, origin_mm=(x, y, z)), axes


def _body_points(axes_mm: list[Floats], pose: Pose) -> Floats:
    """Return the anatomy's coordinates (3, Z, Y, X) at every voxel."""
    z, y, x = np.meshgrid(*axes_mm, indexing="ij")
    y, x = y - np.float32(pose.offset_mm[0]), x - np.float32(pose.offset_mm[1])
    sin, cos = np.float32(np.sin(np.radians(pose.roll_deg))), np.float32(np.cos(np.radians(pose.roll_deg)))
    turned = np.stack((z, cos * y - sin * x, cos * x + sin * y))
    return np.asarray(turned / np.array(pose.scale, np.float32)[:, None, None, None])


def _table(points: Floats, torso: Torso) -> Floats:
    """Return air with the scanner's table under the back, HU (Z, Y, X)."""
    _, y, x = points
    image = np.full(y.shape, AIR_HU, np.float32)
    middle = np.float32(torso.skin.back_mm + 8) - x**2 / np.float32(2200)
    _cover(image, np.maximum(np.abs(y - middle) - np.float32(2.5), np.abs(x) - np.float32(125.0)), np.float32(0.0))
    return image


def _canvas(points: Floats, image: Floats, label: npt.NDArray[np.uint8], mottle: Floats) -> Canvas:
    """Return a canvas; `points` are (3, Z, Y, X), the rest (Z, Y, X)."""
    reach = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        reach.append((points[axis].min(others), points[axis].max(others)))
    return Canvas(image, label, mottle, points, tuple(reach))


def _paint(part: Tissue, canvas: Canvas) -> None:
    """Draw `part` over what the canvas shows so far, in place."""
    where = _voxels_around(part, canvas)
    if where is None:
        return
    image, label = canvas.image[where], canvas.label[where]
    distance = part.shape.distance(canvas.points[(slice(None), *where)])
    if part.fat_mm > 0:
        _cover(image, distance - np.float32(part.fat_mm), np.float32(FAT_HU))
        label[distance < part.fat_mm] = 0
    _cover(image, distance, np.float32(part.hu) + np.float32(part.mottle_hu) * canvas.mottle[where])
    if part.label is not None:
        label[distance < 0] = part.label


def _cover(image: Floats, distance: Floats, hu: Floats | np.float32) -> None:
    """Mix `hu` into `image`, in place: wholly inside, half on the surface, over about 2 mm."""
    share = np.clip(np.float32(0.5) - distance / np.float32(2.0), 0, 1)
    image += share * (hu - image)


def _voxels_around(part: Tissue, canvas: Canvas) -> tuple[slice, slice, slice] | None:
    """Return the voxels among which the part lies; None where it is outside the volume."""
    margin = part.fat_mm + 2.0
    spans = []
    for low, high, (least, greatest) in zip(*part.shape.box(), canvas.reach, strict=True):
        inside = np.flatnonzero((greatest >= low - margin) & (least <= high + margin))
        if not inside.size:
            return None
        spans.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _scanned(rng: np.random.Generator, image: Floats) -> npt.NDArray[np.int16]:
    """Return the image as a scanner would show it: blurred a little, with noise that neighbours share."""
    blurred = ndimage.gaussian_filter(image, (0.45, 0.55, 0.55))
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), (0.35, 0.75, 0.75))
    noise *= np.float32(rng.uniform(11, 17)) / noise.std()
    return np.asarray(np.clip(np.round(blurred + noise), -1024, 3071), np.int16)
