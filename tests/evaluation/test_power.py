"""Tests of autoseg.evaluation.power, against simulated t-tests and published sample sizes."""

from __future__ import annotations

import numpy as np
import pytest
from report_content import scores
from scipy import stats

from autoseg.evaluation.power import detectable, smallest_difference


@pytest.mark.parametrize(("pairs", "effect"), [(199, 0.2), (34, 0.5), (15, 0.8)])
def test_cohens_effects_need_the_known_numbers_of_pairs(pairs: int, effect: float) -> None:
    fewer, enough = smallest_difference(pairs - 1), smallest_difference(pairs)
    assert fewer is not None
    assert enough is not None
    assert enough <= effect < fewer  # as in G*Power 3.1, matched pairs, 80 %


def test_a_simulated_test_shows_it_four_times_in_five() -> None:
    effect = smallest_difference(8)
    assert effect is not None
    differences = np.random.default_rng(0).normal(effect, 1, (20_000, 8))
    assert (stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.01)


def test_the_table_is_in_points_of_dice() -> None:
    frame = scores(*((f"c{n}", "testing", "liver", 1, dice) for n, dice in enumerate([0.8, 0.9, 0.8, 0.9])))
    (row,) = detectable(frame, ["testing"]).to_numpy().tolist()
    std = 100 * np.std([0.8, 0.9, 0.8, 0.9], ddof=1)
    assert row[:2] == ["liver", 4]
    assert row[2:] == pytest.approx([std, 2.1279 * std], rel=1e-3)
    assert smallest_difference(2) is None


def test_an_organ_that_is_missed_everywhere_tells_nothing_of_differences() -> None:
    missed = [("c0", 0.0), ("c1", 0.0), ("c2", 0.0), ("c3", 0.0)]
    frame = scores(*((case, "testing", "vein", 2, dice) for case, dice in missed))
    assert detectable(frame, ["testing"]).empty
