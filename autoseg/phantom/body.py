"""The phantom's body: its contours, contrast phase, wall, lungs and skeleton, drawn at random.

Coordinates (z, y, x) in mm: z to the head, y to the back, x to the patient's left; the origin lies in the midline at
the first lumbar vertebra. A part covers those before it in the list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoseg.phantom.shapes import Ellipsoid, HalfSpace, Shape, Trunk, Within, tube

FAT_HU, GAS_HU, BONE_HU = -100.0, -930.0, 420.0


@dataclass(frozen=True)
class Tissue:
    """A piece of anatomy."""

    shape: Shape
    hu: float
    label: int | None = 0  # None: as what it covers
    fat_mm: float = 0.0  # thickness of the fat around it
    mottle_hu: float = 0.0  # deviation of its uneven brightness


@dataclass(frozen=True)
class Torso:
    """The outer contours of a body, from the skin inwards."""

    skin: Trunk
    muscle: Trunk
    cavity: Trunk


@dataclass(frozen=True)
class Enhancement:
    """Brightness in HU of what contrast medium reaches."""

    artery: float
    vein: float
    cava: float
    liver: float
    spleen: float
    pancreas: float
    kidney: float
    wall: float  # of stomach and bowel


def draw_torso(rng: np.random.Generator) -> Torso:
    """Return a body's contours; thin and stout bodies differ in fat, not in what lies inside."""
    fat, muscle = float(rng.uniform(7, 22)), float(rng.uniform(8, 12))
    cavity = Trunk(118.0, 79.0, 76.0, taper=2e-4)
    return Torso(cavity.grown(muscle + fat), cavity.grown(muscle), cavity)


def draw_enhancement(rng: np.random.Generator) -> Enhancement:
    """Return the brightness at a time between the late arterial and the portal venous phase."""
    phase = rng.uniform(0.0, 1.0)
    shift = rng.normal(0.0, 1.0, 8)
    return Enhancement(
        artery=float(245 - 80 * phase + 12 * shift[0]),
        vein=float(158 + 27 * phase + 9 * shift[1]),
        cava=float(108 + 37 * phase + 12 * shift[2]),
        liver=float(84 + 22 * phase + 10 * shift[3]),
        spleen=float(126 + 9 * shift[4]),
        pancreas=float(108 - 12 * phase + 9 * shift[5]),
        kidney=float(165 + 22 * shift[6]),
        wall=float(88 + 10 * shift[7]),
    )


def draw_frame(rng: np.random.Generator, torso: Torso, hu: Enhancement) -> list[Tissue]:
    """Return body wall, lungs, heart, skeleton and the muscles along it: what does not sway with breath."""
    muscle = float(rng.normal(60, 6))
    base = float(rng.uniform(52, 64))  # height of the lung bases at the front
    lungs = Within(torso.cavity.grown(-4.0), inside=HalfSpace((base, 0.0, 0.0), (0.954, 0.3, 0.0)))
    parts = [
        Tissue(torso.skin, -15.0),
        Tissue(torso.skin.grown(-2.5), FAT_HU, mottle_hu=6.0),
        Tissue(torso.muscle, muscle, mottle_hu=8.0),
        Tissue(torso.cavity, FAT_HU, mottle_hu=10.0),
        Tissue(lungs, -840.0, mottle_hu=25.0),
        Tissue(tube([(40.0, 16.0, 4.0), (150.0, 20.0, 2.0)], 30.0), FAT_HU),
        Tissue(Ellipsoid((base + 58, -30.0, 12.0), (52.0, 42.0, 58.0), turn_deg=-20), hu.cava + 10),
        Tissue(tube([(150.0, 68.0, 0.0), (-150.0, 67.0, 0.0)], 17.0), muscle),
    ]
    for side in (-1, 1):
        psoas = [(40.0, 44.0, 20.0 * side), (0.0, 40.0, 34.0 * side), (-120.0, 30.0, 48.0 * side)]
        parts += [
            Tissue(tube([(150.0, 66.0, 27.0 * side), (-150.0, 65.0, 31.0 * side)], 19.5), muscle, mottle_hu=10.0),
            Tissue(tube(psoas, (4.0, 13.0, 22.0)), muscle, mottle_hu=6.0),
            Tissue(tube([(90.0, 30.0, 12.0 * side), (10.0, 20.0, 16.0 * side)], 6.0), muscle),
        ]
    return parts + _ribs(rng, torso.cavity) + _spine(rng)


def _ribs(rng: np.random.Generator, cavity: Trunk) -> list[Tissue]:
    """Return the ribs: down and forwards from the spine, the lower the shorter."""
    parts = []
    first = rng.uniform(0, 27)
    for level in range(8):
        head = 140.0 - first - 27.0 * level
        end = 0.92 - 0.085 * level  # share of the half circle from back to front
        angle = np.pi * np.linspace(0.16, max(end, 0.3), 9)
        z = head - 75.0 * (angle / np.pi) ** 1.2
        y = np.where(angle < np.pi / 2, cavity.back_mm + 4, cavity.front_mm + 4) * np.cos(angle)
        # the wall's section is squarer than an ellipse
        bulge = 1.0 + 0.075 * np.sin(2 * angle) ** 2
        for side in (-1, 1):
            x = side * (cavity.half_width_mm + 5) * np.sin(angle)
            path = [(float(c), float(b), float(a)) for c, b, a in zip(z, y * bulge, x * bulge, strict=True)]
            parts.append(Tissue(tube(path, 4.6), BONE_HU))
    return parts


def _spine(rng: np.random.Generator) -> list[Tissue]:
    """Return discs, vertebrae with cortex and processes, and the canal."""
    marrow, offset = float(rng.uniform(130, 230)), rng.uniform(0, 34)
    parts = [Tissue(tube([(130.0, 41.0, 0.0), (0.0, 37.0, 0.0), (-130.0, 33.0, 0.0)], 19.0), 85.0)]
    for level in range(-5, 5):
        z = 34.0 * level + offset
        y = 37.0 + 0.03 * z
        parts += [
            Tissue(Ellipsoid((z, y + 24, 0.0), (9.0, 9.0, 19.0), power=3.0), BONE_HU),
            Tissue(Ellipsoid((z - 4, y + 23, 0.0), (5.0, 5.0, 38.0)), BONE_HU - 60),
            Tissue(Ellipsoid((z - 8, y + 40, 0.0), (10.0, 15.0, 4.5)), BONE_HU - 60),
            Tissue(Ellipsoid((z, y, 0.0), (14.0, 17.5, 23.0), power=3.0), BONE_HU),
            Tissue(Ellipsoid((z, y, 0.0), (11.5, 14.5, 20.0), power=3.0), marrow, mottle_hu=18.0),
        ]
    canal = tube([(130.0, 65.0, 0.0), (0.0, 61.0, 0.0), (-130.0, 57.0, 0.0)], 9.0)
    return [*parts, Tissue(canal, 35.0)]
