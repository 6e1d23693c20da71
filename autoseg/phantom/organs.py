"""The phantom's organs and vessels: where they lie, how large and how bright they are, drawn at random.

Coordinates as in `phantom/body.py`.
"""

from __future__ import annotations

import numpy as np

from autoseg.phantom.body import GAS_HU, Enhancement, Tissue, Torso
from autoseg.phantom.shapes import Ellipsoid, HalfSpace, Joined, Point, Shape, Tube, Within, tube
from autoseg.phantom.vessels import thin_arterial_tree, thin_portal_tree

ORGANS = ("artery", "vein", "liver", "spleen", "stomach", "gallbladder", "pancreas")
ARTERY, VEIN, LIVER, SPLEEN, STOMACH, GALLBLADDER, PANCREAS = range(1, 8)


def draw_organs(
    rng: np.random.Generator, torso: Torso, hu: Enhancement, *, has_thin_vessels: bool = False
) -> list[Tissue]:
    """Return bowel, kidneys, the organs and the vessels: what sways with breath and differs most between people."""
    hull = torso.cavity.grown(-1.5)
    return [
        *_liver(rng, hull, hu),
        *_spleen(rng, hull, hu),
        *_kidneys(rng, hu),
        *_bowel(rng, hull, hu),
        *_stomach(rng, hull, hu),
        *_gallbladder_duodenum(rng, hu),
        *_pancreas_vessels(rng, hu, hull if has_thin_vessels else None),
    ]


def _near(rng: np.random.Generator, point: Point, deviation_mm: float) -> Point:
    """Return a point near `point`."""
    z, y, x = (float(c + d) for c, d in zip(point, rng.normal(0.0, deviation_mm, 3), strict=True))
    return z, y, x


def _sized(rng: np.random.Generator, radii: Point, spread: float) -> Point:
    """Return radii, all larger or smaller together and each a little by itself."""
    scale = 1.0 + rng.uniform(-spread, spread) + rng.uniform(-spread, spread, 3) / 3
    z, y, x = (float(r * s) for r, s in zip(radii, scale, strict=True))
    return z, y, x


def _shifted(points: list[Point], by: Point) -> list[Point]:
    """Return the points, all moved by the same (z, y, x) in mm."""
    return [(z + by[0], y + by[1], x + by[2]) for z, y, x in points]


def _kidneys(rng: np.random.Generator, hu: Enhancement) -> list[Tissue]:
    """Return both kidneys with the fat around and within them: not labelled."""
    parts = []
    for side, height in ((-1, -42.0), (1, -28.0)):
        z, y, x = _near(rng, (height, 42.0, 64.0 * side), 4.0)
        body = Ellipsoid((z, y, x), _sized(rng, (47.0, 28.0, 24.0), 0.1), turn_deg=-25.0 * side)
        sinus = Ellipsoid((z, y - 6, x - 17 * side), (22.0, 9.0, 13.0))
        parts += [
            Tissue(body, hu.kidney, fat_mm=6.0, mottle_hu=14.0),
            Tissue(sinus, -50.0),
            Tissue(Ellipsoid((z, y - 5, x - 14 * side), (10.0, 5.0, 8.0)), 40.0),
        ]
    return parts


def _liver(rng: np.random.Generator, hull: Shape, hu: Enhancement) -> list[Tissue]:
    """Return the liver: two lobes, hollow where hilum and right kidney lie."""
    right = Ellipsoid(_near(rng, (20.0, 0.0, -68.0), 4.0), _sized(rng, (72.0, 74.0, 58.0), 0.1))
    left = Ellipsoid(_near(rng, (38.0, -48.0, -6.0), 5.0), _sized(rng, (33.0, 30.0, 62.0), 0.15), turn_deg=12)
    hilum = Ellipsoid(_near(rng, (-32.0, -10.0, -8.0), 3.0), (58.0, 44.0, 46.0))
    renal = Ellipsoid(_near(rng, (-52.0, 60.0, -42.0), 3.0), (58.0, 50.0, 50.0))
    shape = Within(Joined((right, left), 18.0), inside=hull, outside=Joined((hilum, renal), 12.0))
    return [Tissue(shape, hu.liver, LIVER, mottle_hu=6.0)]


def _spleen(rng: np.random.Generator, hull: Shape, hu: Enhancement) -> list[Tissue]:
    """Return the spleen: between kidney, wall and stomach, hollow towards the stomach."""
    z, y, x = _near(rng, (36.0, 36.0, 88.0), 4.0)
    body = Ellipsoid((z, y, x), _sized(rng, (47.0, 46.0, 30.0), 0.14), turn_deg=-30)
    hollow = Ellipsoid((z, y - 28, x - 36), (60.0, 42.0, 32.0))
    return [Tissue(Within(body, inside=hull, outside=hollow), hu.spleen, SPLEEN, mottle_hu=7.0)]


def _hollow_organ(
    rng: np.random.Generator, outer: Tube, hull: Shape, wall: float, content: float, label: int, gas_share: float
) -> list[Tissue]:
    """Return wall, content and the gas that rises to the front, above a level."""
    low, high = outer.box()
    level = float(low[1] + gas_share * (high[1] - low[1]))
    lumen = Within(outer.grown(-3.0), inside=hull)
    gas = Within(lumen, inside=HalfSpace((0.0, level, 0.0), (0.0, -1.0, 0.0)))
    parts = [
        Tissue(Within(outer, inside=hull), wall, label, fat_mm=2.0),
        Tissue(lumen, content, label, mottle_hu=float(rng.uniform(5, 16))),
    ]
    return [*parts, Tissue(gas, GAS_HU, label)] if gas_share > 0 else parts


def _stomach(rng: np.random.Generator, hull: Shape, hu: Enhancement) -> list[Tissue]:
    """Return the stomach, from below the left diaphragm forwards and across to the right."""
    points: list[Point] = [(63, 1, 52), (38, -25, 64), (12, -49, 62), (-12, -57, 38), (-16, -57, 8), (-8, -48, -18)]
    fill = rng.uniform(0.88, 1.08)
    path = _shifted([_near(rng, p, 2.5) for p in points], _near(rng, (0.0, 0.0, 0.0), 3.5))
    shape = tube(path, [float(fill * r) for r in (31, 31, 28, 23, 18, 13)])
    content = float(rng.uniform(110, 190) if rng.random() < 0.2 else rng.uniform(25, 70))
    return _hollow_organ(rng, shape, hull, hu.wall, content, STOMACH, float(rng.uniform(0.08, 0.28)))


def _bowel(rng: np.random.Generator, hull: Shape, hu: Enhancement) -> list[Tissue]:
    """Return small bowel loops and the colon."""
    parts: list[Tissue] = []
    front = Within(hull, inside=HalfSpace((0.0, 10.0, 0.0), (0.0, -1.0, 0.0)))  # of the spine
    for _ in range(16):
        start = np.array((rng.uniform(-110, -52), rng.uniform(-62, 0), rng.uniform(-62, 78)))
        steps = np.cumsum(rng.normal(0, (9, 14, 20), (4, 3)), axis=0)
        loop = tube([(float(z), float(y), float(x)) for z, y, x in start + steps], float(rng.uniform(10, 14)))
        content = float(rng.uniform(140, 230) if rng.random() < 0.15 else rng.uniform(32, 120))
        gas = float(rng.uniform(0.1, 0.4)) if rng.random() < 0.3 else 0.0
        parts += _hollow_organ(rng, loop, front, hu.wall + 10, content, 0, gas)
    ends: list[list[Point]] = [
        [(-130, 12, -92), (-95, 8, -94), (-72, -12, -86), (-74, -45, -66), (-80, -66, -36)],
        [(-80, -66, -36), (-82, -70, 5), (-70, -62, 48), (-40, -38, 88), (-6, -8, 102)],
        [(-6, -8, 102), (-30, 16, 103), (-75, 26, 100), (-130, 22, 96)],
    ]
    for points in ends:
        colon = tube([points[0], *(_near(rng, p, 4.0) for p in points[1:-1]), points[-1]], float(rng.uniform(14, 19)))
        content = float(rng.uniform(32, 85))
        parts += _hollow_organ(rng, colon, hull, hu.wall, content, 0, float(rng.uniform(0.15, 0.5)))
    return parts


def _gallbladder_duodenum(rng: np.random.Generator, hu: Enhancement) -> list[Tissue]:
    """Return the duodenum around the pancreas's head, and the gallbladder under the liver."""
    z, y, x = _near(rng, (-25.0, -49.0, -63.0), 3.0)
    size = rng.uniform(0.92, 1.12)
    bag = tube([(z + 14, y + 14, x + 4), (z, y, x), (z - 10, y - 10, x - 2)], [size * r for r in (13.0, 19.0, 20.0)])
    sweep: list[Point] = [
        (-8, -46, -22),
        (-6, -34, -42),
        (-28, -12, -55),
        (-54, -6, -44),
        (-60, -4, -12),
        (-52, -9, 26),
    ]
    duodenum = tube([_near(rng, p, 2.0) for p in sweep], (11.0, 12.0, 12.5, 12.0, 11.0, 11.0))
    return [
        Tissue(duodenum, hu.wall, fat_mm=1.5),
        Tissue(duodenum.grown(-3.0), float(rng.uniform(40, 100)), mottle_hu=14.0),
        Tissue(bag, float(rng.uniform(0, 16)), GALLBLADDER, fat_mm=1.0, mottle_hu=3.0),
    ]


def _pancreas_vessels(rng: np.random.Generator, hu: Enhancement, thin_within: Shape | None) -> list[Tissue]:
    """Return the pancreas with the vessels around it: they move together; thin ones where it is said what they fill."""
    by = _near(rng, (0.0, 0.0, 0.0), 3.0)
    size = rng.uniform(1.0, 1.16)
    gland: list[Point] = [(-32, -16, -32), (-16, -25, -18), (0, -32, 6), (8, -25, 32), (16, -8, 56), (24, 10, 74)]
    thick = [float(size * r) for r in (15.0, 14.0, 11.5, 12.5, 12.5, 11.5)]
    pancreas = tube(_shifted([_near(rng, p, 2.0) for p in gland], by), thick)
    return [
        Tissue(pancreas, hu.pancreas, PANCREAS, fat_mm=3.0, mottle_hu=12.0),
        *_caval_tree(rng, hu.cava),
        *(_thin_vessels(rng, hu, by, thin_within) if thin_within is not None else _wide_vessels(rng, hu, by)),
    ]


def _wide_vessels(rng: np.random.Generator, hu: Enhancement, by: Point) -> list[Tissue]:
    return [
        *(Tissue(shape, hu.vein, VEIN) for shape in _portal_tree(rng, by)),
        *(Tissue(shape, hu.artery, ARTERY) for shape in _arterial_tree(rng, by)),
    ]


def _thin_vessels(rng: np.random.Generator, hu: Enhancement, by: Point, inside: Shape) -> list[Tissue]:
    """Return thin vessels, and the aorta, as wide as ever and no organ: they begin at its wall."""
    veins, arteries = thin_portal_tree(rng, by), thin_arterial_tree(rng, by)
    aorta = _arterial_tree(rng, by)[0]
    return [
        *(Tissue(Within(shape, inside=inside), hu.vein, VEIN) for shape in veins),
        *(Tissue(Within(shape, inside=inside), hu.artery, ARTERY) for shape in arteries),
        Tissue(aorta, hu.artery),
    ]


def _caval_tree(rng: np.random.Generator, hu: float) -> list[Tissue]:
    """Return the lower caval vein and the three veins of the liver: about as bright as the portal vein, no organ."""
    cava: list[Point] = [(-120, 8, -20), (0, 8, -22), (60, 2, -26), (120, -6, -26)]
    joins: Point = (68.0, 0.0, -28.0)
    ends: list[Point] = [(45, 18, -80), (35, -30, -60), (48, -48, -18)]
    veins = [Tissue(tube([joins, _near(rng, end, 6.0)], (5.5, 4.0)), hu, label=None) for end in ends]
    return [*veins, Tissue(tube(cava, float(rng.uniform(9.5, 12))), hu)]


def _portal_tree(rng: np.random.Generator, by: Point) -> list[Shape]:
    """Return portal, splenic and upper mesenteric vein, and the portal vein's two branches in the liver."""
    width = rng.uniform(0.95, 1.08)
    mesenteric: list[Point] = [(-120, -24, -6), (-70, -22, -7), (-35, -17, -9), (-2, -13, -10)]
    portal: list[Point] = [(-2, -13, -10), (12, -12, -24), (26, -14, -42)]
    splenic: list[Point] = [(-2, -13, -10), (6, -7, 25), (14, 9, 51), (24, 24, 71), (31, 30, 79)]
    branches: list[list[Point]] = [[(26, -14, -42), (34, -8, -70)], [(26, -14, -42), (40, -24, -34), (46, -40, -16)]]
    trees = [(portal, 9.2), (mesenteric, 8.4), (splenic, 7.8), (branches[0], 7.2), (branches[1], 6.6)]
    return [tube(_shifted(points, by), float(width * radius)) for points, radius in trees]


def _arterial_tree(rng: np.random.Generator, by: Point) -> list[Shape]:
    """Return the aorta with the coeliac trunk, its two large branches, and the upper mesenteric artery."""
    lean = float(rng.normal(0, 3))
    aorta: list[Point] = [(-120, 4, 8 - lean), (0, 7, 13), (120, 17, 13 + lean)]
    root = _shifted([(24, -15, 9)], by)[0]
    splenic = [root, *_shifted([(25, -13, 30), (28, 3, 52), (34, 17, 66), (37, 25, 78)], by)]
    hepatic = [root, *_shifted([(22, -25, -12), (28, -27, -32)], by)]
    mesenteric: list[Point] = [(6, 4, 12), *_shifted([(-10, -9, 11), (-45, -14, 9), (-120, -20, 9)], by)]
    return [
        tube(aorta, float(rng.uniform(11.0, 13.0))),
        tube([(20, 4, 12), root], 5.5),
        tube(splenic, (4.6, 4.4, 4.2, 4.0, 4.0)),
        tube(hepatic, (4.6, 4.2, 4.0)),
        tube(mesenteric, (5.4, 5.2, 5.0, 4.4)),
    ]
