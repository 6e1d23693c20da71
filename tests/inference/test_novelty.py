"""Tests of autoseg.inference.novelty."""

from __future__ import annotations

import made
import numpy as np
import pytest

from autoseg.imaging.grid import Grid
from autoseg.inference.novelty import unlike_training, unusual_organs

PLAIN = made.fingerprint((40, 256, 256), (5.0, 1.0, 1.0))
KNOWN = PLAIN.model_copy(update={"channels": (PLAIN.channels[0].model_copy(update={"air": 0.3}),)})


@pytest.mark.parametrize(
    ("grid", "low", "expected"),
    [
        (Grid(shape=(40, 256, 256), spacing_mm=(5.0, 1.0, 1.0)), -1000, []),
        (Grid(shape=(40, 256, 256), spacing_mm=(5.0, 1.0, 1.0)), 0, ["CT: intensities from 0 to 1"]),
        (Grid(shape=(25, 256, 256), spacing_mm=(8.0, 1.0, 1.0)), -1000, ["spacing 8 mm along z, training had 5 to 5"]),
        (Grid(shape=(40, 256, 64), spacing_mm=(5.0, 1.0, 1.0)), -1000, ["field of view 64 mm along x"]),
        (Grid(shape=(40, 256, 255), spacing_mm=(5.0, 1.0, 0.9999)), -1000, []),  # a header that rounds
    ],
)
def test_what_is_unlike_the_training_is_said(grid: Grid, low: float, expected: list[str]) -> None:
    image = np.full((1, *grid.shape), low, np.int16)
    image[:, :, :100] = 150
    found = unlike_training(grid, image, KNOWN)
    assert len(found) == len(expected)
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True))


def test_an_image_of_true_and_false_is_unlike_ct() -> None:
    image = np.zeros((1, 40, 256, 256), np.bool_)
    image[:, :, :100] = True
    (found,) = unlike_training(Grid(shape=(40, 256, 256), spacing_mm=(5.0, 1.0, 1.0)), image, KNOWN)
    assert found.startswith("CT: intensities from 0 to 1")


def test_a_cohort_without_air_does_not_miss_it() -> None:
    image = np.full((1, 40, 256, 256), 0, np.int16)
    image[:, :, :100] = 150
    assert unlike_training(Grid(shape=(40, 256, 256), spacing_mm=(5.0, 1.0, 1.0)), image, PLAIN) == []


TWO = made.fingerprint((40, 256, 256), (5.0, 1.0, 1.0), labels=2)
RANGES = (
    {"smallest_ml": 10.0, "largest_ml": 20.0, "lowest_offset_mm": (0, 0, -40.0), "highest_offset_mm": (0, 0, -30.0)},
    {"smallest_ml": 1.0, "largest_ml": 2.0, "lowest_offset_mm": (0, 0, 30.0), "highest_offset_mm": (0, 0, 40.0)},
)
RANGED = TWO.model_copy(
    update={"organs": tuple(o.model_copy(update=r) for o, r in zip(TWO.organs, RANGES, strict=True))}
)


def box(x: int) -> list[tuple[int, int]]:
    return [(0, 2), (0, 2), (x, x + 10)]


def test_organs_as_in_training_are_not_unusual() -> None:
    assert unusual_organs({1: (box(0), 7.0), 2: (box(70), 2.9)}, (5.0, 1.0, 1.0), RANGED) == {}


def test_a_volume_and_a_place_that_training_did_not_have_are_told() -> None:
    # middles 5 and 105 of x: 50 mm from their mean, 10 beyond the range's end; half of the range and 5 mm are allowed
    found = unusual_organs({1: (box(0), 6.0), 2: (box(101), 3.5)}, (5.0, 1.0, 1.0), RANGED)
    assert found == {
        1: ("6 ml, training had 10 to 20", "lies 10 mm outside of where training had it"),
        2: ("3.5 ml, training had 1 to 2", "lies 10 mm outside of where training had it"),
    }
    swapped = unusual_organs({1: (box(70), 15.0), 2: (box(0), 1.5)}, (5.0, 1.0, 1.0), RANGED)
    assert swapped[1] == ("lies 65 mm outside of where training had it",)


def test_places_are_not_told_where_an_organ_was_not_found_or_training_had_few_cases() -> None:
    assert unusual_organs({1: (box(0), 15.0)}, (5.0, 1.0, 1.0), RANGED) == {}
    few = RANGED.model_copy(update={"organs": tuple(o.model_copy(update={"cases": 3}) for o in RANGED.organs)})
    assert unusual_organs({1: (box(0), 99.0), 2: (box(500), 99.0)}, (5.0, 1.0, 1.0), few) == {}
    assert unusual_organs({1: (box(0), 99.0), 2: (box(500), 99.0)}, (5.0, 1.0, 1.0), TWO) == {}
