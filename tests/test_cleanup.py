"""Tests of autoseg.inference.cleanup."""

from __future__ import annotations

import numpy as np
import pytest

from autoseg.inference.cleanup import Cleanup, choose_cleanup, clean, cleanup_table

LARGEST, SMALL = Cleanup(label=1, largest=True), Cleanup(label=1, smallest_ml=0.003)
HOLES = Cleanup(label=1, holes=True)


def masked(*boxes: tuple[int, slice, slice, slice]) -> np.ndarray:
    mask = np.zeros((8, 12, 12), np.uint8)
    for value, *box in boxes:
        mask[tuple(box)] = value
    return mask


ORGAN = (1, slice(1, 6), slice(1, 6), slice(1, 6))
CRUMB = (1, slice(7, 8), slice(9, 11), slice(10, 11))  # 2 voxels apart from it
HOLE = (0, slice(3, 4), slice(3, 4), slice(3, 4))
OTHER = (2, slice(3, 4), slice(3, 4), slice(3, 4))


@pytest.mark.parametrize(
    ("found", "rule", "expected"),
    [
        ((ORGAN, CRUMB), LARGEST, (ORGAN,)),
        ((ORGAN, CRUMB), SMALL, (ORGAN,)),  # 2 voxels of 0.001 ml are less than 0.003 ml
        ((ORGAN, CRUMB), Cleanup(label=1, smallest_ml=0.002), (ORGAN, CRUMB)),
        ((ORGAN, CRUMB), HOLES, (ORGAN, CRUMB)),
        ((ORGAN, HOLE), HOLES, (ORGAN,)),
        ((ORGAN, OTHER), HOLES, (ORGAN, OTHER)),  # what another organ has is no hole
        ((ORGAN, HOLE), LARGEST, (ORGAN, HOLE)),
        ((ORGAN, CRUMB), Cleanup(label=2, largest=True), (ORGAN, CRUMB)),
        ((), LARGEST, ()),
    ],
)
def test_a_rule_does_what_it_says(found: tuple, rule: Cleanup, expected: tuple) -> None:
    mask = masked(*found)
    clean(mask, (rule,), voxel_ml=0.001)
    np.testing.assert_array_equal(mask, masked(*expected))


def test_pieces_that_share_a_corner_are_one() -> None:
    mask = masked(ORGAN, (1, slice(6, 7), slice(6, 7), slice(6, 7)))
    before = mask.copy()
    clean(mask, (LARGEST,), voxel_ml=1.0)
    np.testing.assert_array_equal(mask, before)


def test_a_rule_is_chosen_where_it_helps_and_says_what_it_gains() -> None:
    truths = [masked(ORGAN)] * 3
    (rule,) = choose_cleanup([masked(ORGAN, CRUMB)] * 3, truths, 3, [0.001] * 3)
    assert (rule.label, rule.largest, rule.holes) == (1, True, False)
    assert rule.gain == pytest.approx(1 - 2 * 125 / (125 + 127), abs=1e-5)
    assert cleanup_table((rule,), {1: "liver"}) == ["liver: the largest piece is kept (validation Dice +0.79 %)"]


def test_no_rule_is_chosen_where_the_organ_really_is_in_pieces_or_full_of_holes() -> None:
    truth = masked(ORGAN, CRUMB, HOLE)
    assert choose_cleanup([truth] * 2, [truth] * 2, 3, [0.001] * 2) == ()


def test_an_organ_that_no_case_has_gets_no_rule() -> None:
    assert choose_cleanup([masked()], [masked()], 3, [1.0]) == ()


def test_a_hole_that_another_organ_fills_gains_nothing() -> None:
    truth, found = masked(ORGAN), masked(ORGAN, OTHER)
    assert choose_cleanup([found] * 2, [truth] * 2, 3, [0.001] * 2) == ()
