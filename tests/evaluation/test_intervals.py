"""Bootstrap intervals of a mean: what they hold, and where they say nothing."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from autoseg.evaluation.intervals import FEWEST, mean_interval

DICE = [0.91, 0.88, 0.93, 0.79, 0.90, 0.86, 0.94, 0.89]


def test_of_many_values_it_is_the_mean_and_two_standard_errors() -> None:
    low, high = mean_interval([0.4, 0.6] * 200) or (0.0, 0.0)
    # deviation 0.1, standard error 0.1 / sqrt(400) = 0.005, times 1.97
    assert (low, high) == pytest.approx((0.5 - 0.00985, 0.5 + 0.00985), abs=0.0005)


def test_it_holds_the_mean_and_stays_within_the_values() -> None:
    low, high = mean_interval(DICE) or (0.0, 0.0)
    assert min(DICE) <= low < float(np.mean(DICE)) < high <= max(DICE)


def test_a_higher_level_is_wider() -> None:
    narrow, wide = mean_interval(DICE, 0.8) or (0.0, 0.0), mean_interval(DICE, 0.99) or (0.0, 0.0)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_of_five_values_it_reaches_nearly_as_far_as_they_do() -> None:
    low, high = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0]) or (0.0, 0.0)
    # a t-interval is 3 ± 2.776 · 1.581 / sqrt(5) = 1.04 to 4.96
    assert (low, high) == pytest.approx((1.04, 4.96), abs=0.4)


def test_the_order_of_the_cases_does_not_matter() -> None:
    shuffled = random.Random(1).sample(DICE, len(DICE))
    assert mean_interval(shuffled) == mean_interval(DICE) == mean_interval(DICE)


def test_a_change_of_sign_turns_it_over() -> None:
    low, high = mean_interval(DICE) or (0.0, 0.0)
    assert mean_interval([-v for v in DICE]) == pytest.approx((-high, -low), abs=1e-12)


def test_undefined_values_are_left_out() -> None:
    assert mean_interval([*DICE, math.nan]) == mean_interval(DICE)


@pytest.mark.parametrize(
    "values", [[], [0.9], DICE[: FEWEST - 1], [0.9] * 20, [0.1 + 0.2, *[0.3] * 8], [0.0] * 9, [math.nan] * 9]
)
def test_it_is_none_where_it_says_nothing(values: list[float]) -> None:
    assert mean_interval(values) is None


def test_intervals_of_differences_hold_the_true_mean_as_often_as_they_say() -> None:
    draw = np.random.default_rng(0)
    found = [mean_interval([float(v) for v in draw.normal(0.0, 1.0, 10)]) or (0.0, 0.0) for _ in range(300)]
    held = sum(low <= 0.0 <= high for low, high in found)
    assert 0.91 <= held / 300 <= 0.98
