"""Tests of autoseg.inference.calibration."""

from __future__ import annotations

import made
import numpy as np
import pytest
import torch

from autoseg.imaging.grid import Grid
from autoseg.inference.calibration import Calibration, Certainty, calibrate, unlike_training, unusual_organs


def certainty(probabilities: torch.Tensor, depth: int) -> tuple[float | None, ...]:
    found = Certainty(range(1, len(probabilities)))
    for slab in probabilities.split(depth, dim=1):
        found.add(slab, slab.argmax(dim=0).to(torch.uint8))
    return found.estimates()


def test_the_estimate_by_hand() -> None:
    # four voxels of background, organ 1, organ 2: 0.9 and 0.6 of organ 1 win, 0.3 loses, 0.01 is too little to count
    one = torch.tensor([0.9, 0.6, 0.3, 0.01])
    probabilities = torch.stack((1 - one, one, torch.zeros(4)))[:, :, None, None]
    for depth in (1, 3, 4):
        first, second = certainty(probabilities, depth)
        assert first == pytest.approx(2 * 1.5 / (1.8 + 2))
        assert second is None


def test_a_network_that_is_sure_of_everything_expects_a_dice_of_one() -> None:
    probabilities = torch.nn.functional.one_hot(torch.arange(3).repeat(9)).T.reshape(3, 3, 3, 3).float()
    assert certainty(probabilities, 2) == (1.0, 1.0)


def test_calibration_finds_the_line_and_its_scatter() -> None:
    estimates = np.linspace(0.5, 0.95, 20)
    noise = np.where(np.arange(20) % 2, 0.01, -0.01)
    found = calibrate(list(estimates), list(0.5 * estimates + 0.3 + noise))
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.scatter == pytest.approx(0.01, rel=0.1)
    assert found.expected(0.8) == pytest.approx(0.7, abs=0.01)
    assert found.expected(None) is None


def test_few_points_leave_the_estimate_as_it_is() -> None:
    assert calibrate([0.5, 0.9], [0.2, 0.1]) == Calibration()
    assert Calibration(slope=2).expected(0.9) == 1.0
    assert Calibration(low=0.5, high=0.8).expected(0.1) == 0.5  # outside of what was seen: the nearest that was


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
