"""Tests of autoseg.inference.calibration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autoseg.inference.calibration import Calibration, Certainty, calibrate
from autoseg.labels import Label, LabelScheme

ORGANS = LabelScheme(labels=(Label(value=5, name="liver"), Label(value=2, name="spleen")))
TUMOUR = LabelScheme(labels=(Label(value=1, name="whole"), Label(value=2, name="core")), regions=((1, 2), (2,)))


def certainty(probabilities: torch.Tensor, depth: int) -> tuple[float | None, ...]:
    found = Certainty(ORGANS)
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


def test_a_region_is_as_certain_as_its_own_probabilities_wherever_it_is_painted_over() -> None:
    # of four voxels whole has three, core one of these; what lies outside counts where it is above LEAST_PROBABILITY
    whole, core = torch.tensor([0.9, 0.8, 0.7, 0.2]), torch.tensor([0.6, 0.3, 0.01, 0.0])
    sums = Certainty(TUMOUR)
    sums.add(torch.stack((whole, core))[:, :, None, None], torch.tensor([2, 1, 1, 0], dtype=torch.uint8)[:, None, None])
    assert sums.estimates() == (pytest.approx(2 * 2.4 / (2.6 + 3)), pytest.approx(2 * 0.6 / (0.9 + 1)))


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
