"""Smooth solids in millimetres, as signed distances: what the phantom's anatomy is built from.

Points are arrays (3, ...) of coordinates (z, y, x) in mm; a distance is negative inside, about mm near the surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline, CubicSpline

Floats = npt.NDArray[np.float32]
Point = tuple[float, float, float]  # (z, y, x) in mm
PRODUCTS = 1 << 25  # of points and balls of a tube at a time: more than in any volume of the usual size


class Shape(Protocol):
    """A solid that can say how far points are from its surface."""

    def box(self) -> tuple[Floats, Floats]:
        """Return the lower and upper corner (z, y, x), in mm, of a box that holds the solid."""

    def distance(self, points: Floats) -> Floats:
        """Return the signed distance, in mm, of `points` (3, ...); negative inside."""


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, turned about the head-foot axis; a power above 2 squares its corners."""

    centre: Point
    radii: Point
    turn_deg: float = 0.0  # from +y towards +x
    power: float = 2.0

    def box(self) -> tuple[Floats, Floats]:
        """See `Shape`."""
        side = max(self.radii[1:])
        reach = np.array((self.radii[0], side, side)) * (1.0 if self.power == 2.0 else 1.3)
        return (self.centre - reach).astype(np.float32), (self.centre + reach).astype(np.float32)

    def distance(self, points: Floats) -> Floats:
        """See `Shape`."""
        z, y, x = (p - np.float32(c) for p, c in zip(points, self.centre, strict=True))
        sin, cos = np.float32(np.sin(np.radians(self.turn_deg))), np.float32(np.cos(np.radians(self.turn_deg)))
        local = np.stack((z, cos * y + sin * x, cos * x - sin * y))
        radii = np.array(self.radii, np.float32).reshape(3, *[1] * z.ndim)
        scaled = np.abs(local / radii)
        if self.power != 2.0:
            ratio = (scaled**self.power).sum(0) ** (1 / self.power)
            return np.asarray(np.float32(min(self.radii)) * (ratio - np.float32(1.0)))
        # first-order distance: value over gradient
        length = np.sqrt((scaled**2).sum(0))
        slope = np.sqrt(((scaled / radii) ** 2).sum(0)) + np.float32(1e-6)
        return np.asarray(length * (length - np.float32(1.0)) / slope)


@dataclass(frozen=True)
class Tube:
    """Balls strung closely along a path."""

    path: Floats  # (N, 3) centres (z, y, x) in mm
    radii: Floats  # (N,) in mm

    def box(self) -> tuple[Floats, Floats]:
        """See `Shape`."""
        return (self.path - self.radii[:, None]).min(0), (self.path + self.radii[:, None]).max(0)

    def distance(self, points: Floats) -> Floats:
        """See `Shape`."""
        middle = self.path.mean(0)
        flat, centres = points.reshape(3, -1) - middle[:, None], self.path - middle
        # the least |p - c|^2 - r^2 over the balls, by matrix products: zero on the surface, exact for equal radii
        weights, constant = np.float32(-2.0) * centres, ((centres**2).sum(1) - self.radii**2)[:, None]
        step = max(1, PRODUCTS // len(centres))
        parts = [(weights @ flat[:, at : at + step] + constant).min(0) for at in range(0, flat.shape[1], step)]
        radius = self.radii.mean()
        nearest = np.concatenate(parts) + (flat**2).sum(0) + radius**2
        return np.asarray(np.sqrt(np.maximum(nearest, np.float32(0.0))) - radius).reshape(points.shape[1:])

    def grown(self, margin_mm: float) -> Tube:
        """Return the tube with every radius larger by `margin_mm`; a radius is at least 1 mm."""
        return Tube(self.path, np.maximum(self.radii + np.float32(margin_mm), np.float32(1.0)))


@dataclass(frozen=True)
class Trunk:
    """A column along z whose section is a rounded rectangle, flatter at the back than in front."""

    half_width_mm: float
    front_mm: float  # from the axis to the front
    back_mm: float
    taper: float = 0.0  # relative widening per mm towards the head

    def box(self) -> tuple[Floats, Floats]:
        """See `Shape`: unbounded along z."""
        side = 1.3 * self.half_width_mm
        low, high = (-1e3, -1.3 * self.front_mm, -side), (1e3, 1.3 * self.back_mm, side)
        return np.array(low, np.float32), np.array(high, np.float32)

    def distance(self, points: Floats) -> Floats:
        """See `Shape`."""
        z, y, x = points
        wide = np.float32(1.0) + np.float32(self.taper) * z
        depth = np.where(y < 0, np.float32(self.front_mm), np.float32(self.back_mm))
        ratio = (np.abs(x / (self.half_width_mm * wide)) ** 2.4 + np.abs(y / (depth * wide)) ** 2.4) ** (1 / 2.4)
        return np.asarray((ratio - 1.0) * min(self.front_mm, self.back_mm), np.float32)

    def grown(self, margin_mm: float) -> Trunk:
        """Return the trunk larger by `margin_mm` all around."""
        width, front, back = (r + margin_mm for r in (self.half_width_mm, self.front_mm, self.back_mm))
        return Trunk(width, front, back, self.taper)


@dataclass(frozen=True)
class HalfSpace:
    """All that lies on the far side of a plane, where the normal points."""

    point: Point
    normal: Point  # unit length

    def box(self) -> tuple[Floats, Floats]:
        """See `Shape`: unbounded."""
        return np.full(3, -1e3, np.float32), np.full(3, 1e3, np.float32)

    def distance(self, points: Floats) -> Floats:
        """See `Shape`."""
        return -sum(
            (np.float32(n) * (p - np.float32(c)) for p, c, n in zip(points, self.point, self.normal, strict=True)),
            np.zeros(points.shape[1:], np.float32),
        )


@dataclass(frozen=True)
class Joined:
    """Shapes melted together: seams are rounded over about `blend_mm`."""

    shapes: tuple[Shape, ...]
    blend_mm: float

    def box(self) -> tuple[Floats, Floats]:
        """See `Shape`."""
        lows, highs = zip(*(s.box() for s in self.shapes), strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def distance(self, points: Floats) -> Floats:
        """See `Shape`."""
        merged = self.shapes[0].distance(points)
        for shape in self.shapes[1:]:
            other = shape.distance(points)
            seam = np.maximum(np.float32(self.blend_mm) - np.abs(merged - other), np.float32(0.0))
            merged = np.minimum(merged, other) - seam**2 / np.float32(4.0 * self.blend_mm)
        return merged


@dataclass(frozen=True)
class Within:
    """What of a shape lies inside another and outside a third."""

    shape: Shape
    inside: Shape | None = None
    outside: Shape | None = None

    def box(self) -> tuple[Floats, Floats]:
        """See `Shape`."""
        return self.shape.box()

    def distance(self, points: Floats) -> Floats:
        """See `Shape`."""
        distance = self.shape.distance(points)
        if self.inside is not None:
            distance = np.maximum(distance, self.inside.distance(points))
        if self.outside is not None:
            distance = np.maximum(distance, -self.outside.distance(points))
        return distance


def tube(points: Sequence[Point], radii_mm: float | Sequence[float]) -> Tube:
    """Return the tube along the smooth curve through `points` (two or more).

    Args:
        points: Points (z, y, x) in mm that the axis passes through.
        radii_mm: Radius at each point, or one for all.
    """
    knots = np.asarray(points, np.float64)
    sizes = np.broadcast_to(np.asarray(radii_mm, np.float64), len(knots))
    along = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))))
    balls = max(2, round(along[-1] / (0.45 * sizes.min())) + 1)  # so close that the surface ripples by less than 3 %
    at = np.linspace(0.0, along[-1], balls)
    return Tube(CubicSpline(along, knots)(at).astype(np.float32), np.interp(at, along, sizes).astype(np.float32))


def smooth_field(rng: np.random.Generator, axes_mm: Sequence[Floats], knot_mm: float, deviation: float) -> Floats:
    """Return a random field that varies smoothly over space, with mean 0.

    Args:
        rng: Source of the values at the knots.
        axes_mm: Coordinates of the voxel centres along z, y and x, ascending.
        knot_mm: Distance of the knots: about the size of a bump.
        deviation: Standard deviation of the field.

    Returns:
        Field (Z, Y, X).
    """
    bases = [_basis(axis, knot_mm) for axis in axes_mm]
    field = rng.standard_normal([b.shape[1] for b in bases], dtype=np.float32)
    for basis in bases:  # each turn consumes the first axis and appends its voxels: (Z, Y, X) again after three
        field = np.tensordot(field, basis, axes=(0, 1))
    # a cubic B-spline of unit white noise has a variance of about 0.48 for each axis
    return np.asarray(field * np.float32(deviation / 0.48**1.5))


def _basis(axis_mm: Floats, knot_mm: float) -> Floats:
    """Return the cubic B-splines that reach the axis, (voxels, splines)."""
    count = int((axis_mm[-1] - axis_mm[0]) / knot_mm) + 1
    knots = axis_mm[0] + knot_mm * np.arange(-3, count + 4)
    return np.asarray(BSpline.design_matrix(axis_mm.astype(np.float64), knots, 3).toarray(), np.float32)
