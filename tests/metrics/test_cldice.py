"""Tests of autoseg.metrics.cldice, on tubes whose centre lines can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from autoseg.labels import Mask
from autoseg.metrics.cldice import skeleton
from autoseg.metrics.pair import organ_pairs
from autoseg.metrics.registry import METRICS, computed_metrics


def tube(start: int, stop: int, radius: int = 0) -> Mask:
    """Return a tube along z with a square section of 2 · radius + 1 voxels."""
    mask = np.zeros((24, 9, 9), bool)
    mask[start:stop, 4 - radius : 5 + radius, 4 - radius : 5 + radius] = True
    return mask


def cldice_of(prediction: Mask, truth: Mask) -> float | None:
    compute = METRICS["cldice"].compute
    assert compute is not None
    return compute(organ_pairs(prediction.astype(np.uint8), truth.astype(np.uint8), {1: (1,)}, (1.0, 1.0, 1.0))[1])


def test_a_line_found_to_three_quarters_has_that_sensitivity() -> None:
    assert cldice_of(tube(2, 17), tube(2, 22)) == pytest.approx(2 * 1.0 * 0.75 / 1.75)  # 15 of 20 voxels


def test_a_tube_twice_as_thick_has_the_same_course() -> None:
    thin, thick = tube(2, 22), tube(2, 22, radius=1)
    assert cldice_of(thick, thin) == pytest.approx(1.0)  # the centre line of the one lies in the other, both ways


def test_a_gap_costs_its_share_of_the_centre_line() -> None:
    torn = tube(0, 24)
    torn[9:15] = False
    assert cldice_of(torn, tube(0, 24)) == pytest.approx(2 * 0.75 / 1.75)


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (tube(0, 0), tube(0, 0), None),
        (tube(0, 0), tube(0, 9), 0.0),
        (tube(0, 9), tube(0, 0), 0.0),
        (tube(0, 9), tube(12, 20), 0.0),
        (tube(0, 9, radius=2), tube(0, 9, radius=2), 1.0),
    ],
)
def test_empty_and_equal_masks_are_scored_as_by_dice(prediction: Mask, truth: Mask, expected: float | None) -> None:
    assert cldice_of(prediction, truth) == expected


def test_a_part_of_which_thinning_leaves_nothing_counts_whole() -> None:
    mask = np.zeros((12, 9, 9), bool)
    mask[0:4, 0:2, 0:2] = True  # two voxels across
    mask[6:12, 6, 6] = True
    assert skeleton(mask).sum() == 16 + 6


def test_only_tubes_have_it() -> None:
    assert "cldice" in [metric.name for metric, _ in computed_metrics("hepatic_vein", 2.0)]
    assert "cldice" not in [metric.name for metric, _ in computed_metrics("liver", 2.0)]
