"""Thin vessels of a phantom: trees of 3 to 8 mm that branch, as a fine grid shows them and a coarse one does not.

Coordinates as in `phantom/body.py`. A branch is as wide as Murray's law has it: the cubes of
the diameters of two branches add up to that of their stem.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autoseg.phantom.shapes import Point, Tube, tube

THINNEST_MM, WIDEST_MM = 3.0, 8.0  # diameters
MURRAY = 2 ** (-1 / 3)  # diameter of each of two equal branches by that of their stem
LENGTH = 4.5  # of a branch, by its diameter


def thin_portal_tree(rng: np.random.Generator, by: Point) -> list[Tube]:
    """Return portal, splenic and upper mesenteric vein with their branches in liver, spleen and mesentery.

    Args:
        rng: Draws widths and branches.
        by: How far the vessels lie from their usual place, (z, y, x) in mm.
    """
    width = float(rng.uniform(0.96, 1.0))
    joins, divides = _moved((-2, -13, -10), by), _moved((26, -14, -42), by)
    portal = [joins, _moved((12, -12, -24), by), divides]
    mesenteric = [joins, *(_moved(p, by) for p in ((-35, -17, -9), (-70, -22, -7), (-120, -24, -6)))]
    splenic = [joins, *(_moved(p, by) for p in ((6, -7, 25), (14, 9, 51), (24, 24, 71)))]
    return [
        *_tree(rng, portal, width * WIDEST_MM),
        *_with_sides(rng, mesenteric, width * 7.0),
        *_tree(rng, splenic, width * 6.4),
    ]


def thin_arterial_tree(rng: np.random.Generator, by: Point) -> list[Tube]:
    """Return the coeliac trunk, its two large branches and the upper mesenteric artery, all with further branches.

    They begin within the aorta, which is wider than they may be and not among them.

    Args:
        rng: Draws widths and branches.
        by: How far the vessels lie from their usual place, (z, y, x) in mm.
    """
    width = float(rng.uniform(0.96, 1.0))
    root = _moved((24, -15, 9), by)
    splenic = [root, *(_moved(p, by) for p in ((25, -13, 30), (28, 3, 52), (34, 17, 66)))]
    hepatic = [root, *(_moved(p, by) for p in ((22, -25, -12), (28, -27, -32)))]
    mesenteric = [(6.0, 4.0, 12.0), *(_moved(p, by) for p in ((-10, -9, 11), (-45, -14, 9), (-120, -20, 9)))]
    return [
        tube([(20.0, 4.0, 12.0), root], width * WIDEST_MM / 2),
        *_tree(rng, splenic, width * 6.4),
        *_tree(rng, hepatic, width * 6.4),
        *_with_sides(rng, mesenteric, width * 7.4),
    ]


def _with_sides(rng: np.random.Generator, path: Sequence[Point], diameter_mm: float) -> list[Tube]:
    """Return a vessel along a path that thins out to half, with a tree to either side at every inner point."""
    stem = tube(path, list(diameter_mm / 2 * np.linspace(1.0, 0.5, len(path))))
    shapes = [stem]
    for number, (z, y, x) in enumerate(path[1:-1]):
        for side in (-1.0, 1.0):
            drop, forth = rng.uniform(-16, -4), rng.uniform(-14, -4)
            end = (float(z + drop), float(y + forth), float(x + side * rng.uniform(16, 24)))
            shapes += _tree(rng, [(z, y, x), end], diameter_mm * MURRAY**2 * (1.0 - 0.1 * number))
    return shapes


def _tree(rng: np.random.Generator, path: Sequence[Point], diameter_mm: float) -> list[Tube]:
    """Return a vessel along a path that divides into two at its end, as do these, until they would be too thin."""
    shapes = [tube(path, diameter_mm / 2)]
    thinner_mm = diameter_mm * MURRAY
    if thinner_mm < THINNEST_MM:
        return shapes
    end = np.array(path[-1])
    along = _unit(end - np.array(path[-2]))
    aside = _unit(np.cross(along, rng.normal(size=3)))
    for side in (-1.0, 1.0):
        angle = np.radians(rng.uniform(25, 45))
        step = LENGTH * thinner_mm * (np.cos(angle) * along + side * np.sin(angle) * aside)
        middle = end + step / 2 + rng.normal(0.0, 1.0, 3)
        shapes += _tree(rng, [_point(end), _point(middle), _point(end + step)], thinner_mm)
    return shapes


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))


def _point(place: npt.NDArray[np.float64]) -> Point:
    z, y, x = (float(c) for c in place)
    return z, y, x


def _moved(point: Point, by: Point) -> Point:
    z, y, x = (float(c + d) for c, d in zip(point, by, strict=True))
    return z, y, x
