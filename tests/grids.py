"""Grids of every kind that several tests draw from."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import strategies as st

from autoseg.imaging.grid import Grid

TURNS = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]
lengths = st.floats(0.1, 10.0)
shapes = st.tuples(*[st.integers(1, 6)] * 3)


def turned(axes: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """Return the direction whose column j points along patient axis axes[j], or against it."""
    direction = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        direction[axis, column] = sign
    return direction


@st.composite
def directions(draw: st.DrawFn) -> tuple[float, ...]:
    """A right-angled turn or mirror, then an oblique rotation of any size."""
    w, x, y, z = (draw(st.floats(-1, 1)) for _ in range(4))
    length = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = (v / length for v in (w, x, y, z)) if length > 0.1 else (1.0, 0.0, 0.0, 0.0)
    oblique = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return tuple((oblique @ turned(*draw(st.sampled_from(TURNS)))).ravel().tolist())


grids = st.builds(
    Grid,
    shape=shapes,
    spacing_mm=st.tuples(lengths, lengths, lengths),
    origin_mm=st.tuples(*[st.floats(-500, 500)] * 3),
    direction=directions(),
)
