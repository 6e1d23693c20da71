"""Tests of autoseg.inference.postprocess."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from autoseg.imaging.grid import Triple
from autoseg.inference.postprocess import (
    PostprocessRule,
    _candidates,
    _in_boxes,
    apply_rules,
    choose_rules,
    rules_in_words,
)
from autoseg.labels import IGNORED

LARGEST, SMALL = PostprocessRule(label=1, largest=True), PostprocessRule(label=1, smallest_ml=0.003)
HOLES = PostprocessRule(label=1, holes=True)
ML = (1.0, 1.0, 1.0)  # spacing in mm at which a voxel has 0.001 ml


def masked(*boxes: tuple[int, slice, slice, slice]) -> np.ndarray:
    mask = np.zeros((8, 12, 12), np.uint8)
    for value, *box in boxes:
        mask[tuple(box)] = value
    return mask


ORGAN = (1, slice(1, 6), slice(1, 6), slice(1, 6))
CRUMB = (1, slice(7, 8), slice(9, 11), slice(10, 11))  # 2 voxels apart from it
HOLE = (0, slice(3, 4), slice(3, 4), slice(3, 4))
OTHER = (2, slice(3, 4), slice(3, 4), slice(3, 4))
CAVITY = (0, slice(2, 5), slice(2, 5), slice(2, 5))
ISLAND = (1, slice(3, 4), slice(3, 4), slice(3, 4))


@pytest.mark.parametrize(
    ("found", "rule", "expected"),
    [
        ((ORGAN, CRUMB), LARGEST, (ORGAN,)),
        ((ORGAN, CRUMB), SMALL, (ORGAN,)),  # 2 voxels of 0.001 ml are less than 0.003 ml
        ((ORGAN, CRUMB), PostprocessRule(label=1, smallest_ml=0.002), (ORGAN, CRUMB)),
        ((ORGAN, CRUMB), HOLES, (ORGAN, CRUMB)),
        ((ORGAN, HOLE), HOLES, (ORGAN,)),
        ((ORGAN, OTHER), HOLES, (ORGAN, OTHER)),  # what another organ has is no hole
        ((ORGAN, HOLE), LARGEST, (ORGAN, HOLE)),
        (
            (ORGAN, CAVITY, ISLAND),
            PostprocessRule(label=1, largest=True, holes=True),
            (ORGAN,),
        ),  # an island's place is filled, too
        ((ORGAN, CRUMB), PostprocessRule(label=2, largest=True), (ORGAN, CRUMB)),
        ((), LARGEST, ()),
    ],
)
def test_a_rule_does_what_it_says(found: tuple, rule: PostprocessRule, expected: tuple) -> None:
    mask = masked(*found)
    apply_rules(mask, (rule,), spacing_mm=ML)
    np.testing.assert_array_equal(mask, masked(*expected))


def test_pieces_that_share_a_corner_are_one() -> None:
    mask = masked(ORGAN, (1, slice(6, 7), slice(6, 7), slice(6, 7)))
    before = mask.copy()
    apply_rules(mask, (LARGEST,), spacing_mm=ML)
    np.testing.assert_array_equal(mask, before)


def line(*xs: int, y: int = 0) -> np.ndarray:
    """Return a mask of one slice with voxels at x of a row."""
    mask = np.zeros((1, y + 1, 40), np.uint8)
    mask[0, y, list(xs)] = 1
    return mask


@pytest.mark.parametrize(
    ("reach_mm", "kept"),
    [
        (3.9, (0, 1, 2, 3)),  # the largest piece alone
        (4.0, (0, 1, 2, 3, 5, 6)),  # 3 and 5 are two voxels of 2 mm apart
        (5.9, (0, 1, 2, 3, 5, 6)),
        (6.0, (0, 1, 2, 3, 5, 6, 9)),  # 9 is 6 mm from 6: a chain; but 12 mm from the largest
        (31.9, (0, 1, 2, 3, 5, 6, 9)),
        (32.0, (0, 1, 2, 3, 5, 6, 9, 25)),
    ],
)
def test_pieces_are_kept_that_gaps_within_the_reach_link_to_the_largest(reach_mm: float, kept: tuple[int, ...]) -> None:
    mask = line(0, 1, 2, 3, 5, 6, 9, 25)
    apply_rules(mask, (PostprocessRule(label=1, reach_mm=reach_mm),), spacing_mm=(5.0, 1.0, 2.0))
    np.testing.assert_array_equal(mask, line(*kept))


@pytest.mark.parametrize(
    ("offset", "gap_mm"), [((2, 0, 0), 10.0), ((0, 3, 0), 3.0), ((0, 0, 3), 6.0), ((2, 3, 4), (100 + 9 + 64) ** 0.5)]
)
def test_a_gap_is_in_millimetres_of_each_axis_between_voxel_centres(offset: tuple[int, ...], gap_mm: float) -> None:
    mask = np.zeros((5, 6, 9), np.uint8)
    mask[0, 0, 0] = mask[offset] = 1
    for reach_mm, pieces in ((gap_mm - 0.001, 1), (gap_mm, 2)):
        cleaned = mask.copy()
        apply_rules(cleaned, (PostprocessRule(label=1, reach_mm=reach_mm),), spacing_mm=(5.0, 1.0, 2.0))
        assert cleaned.sum() == pieces


def test_small_pieces_that_a_rule_removes_link_nothing() -> None:
    mask = line(0, 1, 2, 3, 5, 7, 8)
    apply_rules(mask, (PostprocessRule(label=1, reach_mm=2.0, smallest_ml=0.002),), spacing_mm=ML)
    np.testing.assert_array_equal(mask, line(0, 1, 2, 3))


def vessel(*gaps: int, island: bool = False) -> np.ndarray:
    """Return a trunk with two branches, some of its slices blanked, and an island far from it."""
    mask = np.zeros((40, 30, 30), np.uint8)
    mask[:20, 14:17, 14:17] = 1
    for step in range(20):  # the branches leave the trunk sideways
        mask[20 + step, 14:16, 13 - step // 2 : 15 - step // 2] = 1
        mask[20 + step, 14:16, 16 + step // 2 : 18 + step // 2] = 1
    mask[list(gaps)] = 0
    if island:
        mask[2:5, 2:5, 26:29] = 1
    return mask


def test_an_interrupted_vessel_keeps_its_far_branches_and_loses_the_island() -> None:
    mask = vessel(22, 23, 31, island=True)
    apply_rules(mask, (PostprocessRule(label=1, reach_mm=5.0),), spacing_mm=ML)
    np.testing.assert_array_equal(mask, vessel(22, 23, 31))


@given(
    st.integers(0, 2**31),
    st.sampled_from([0.02, 0.1, 0.4]),
    st.tuples(*[st.integers(1, 14)] * 3),
    st.tuples(*[st.sampled_from([0.7, 1.0, 2.5])] * 3),
    st.floats(0.5, 12.0),
    st.sampled_from([0.0, 0.003]),
)
@settings(max_examples=150)
def test_reach_equals_measuring_every_pair_of_voxels(
    seed: int, share: float, shape: tuple[int, int, int], spacing: Triple, reach_mm: float, smallest_ml: float
) -> None:
    mask = (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)
    expected = np.zeros_like(mask)
    expected[tuple(linked_by_all_pairs(mask, spacing, reach_mm, smallest_ml).T)] = 1
    apply_rules(mask, (PostprocessRule(label=1, reach_mm=reach_mm, smallest_ml=smallest_ml),), spacing)
    np.testing.assert_array_equal(mask, expected)


def linked_by_all_pairs(mask: np.ndarray, spacing: Triple, reach_mm: float, smallest_ml: float) -> np.ndarray:
    """Return the voxels (voxels, 3) that stay, by the distances between all of them."""
    places = np.argwhere(mask)
    touch = np.abs(places[:, None] - places).max(axis=2, initial=0) <= 1
    piece = connected_components(touch)[1]
    sizes = np.bincount(piece, minlength=1)
    big = sizes[piece] * np.prod(spacing) / 1000 >= smallest_ml
    places, piece = places[big], piece[big]
    apart = np.linalg.norm((places[:, None] - places) * spacing, axis=2)
    near = connected_components((apart <= reach_mm + 1e-6) | (piece[:, None] == piece))[1]
    first = near[piece == np.argmax(np.bincount(piece, minlength=1))] if len(piece) else near
    return places[np.isin(near, first)]


def test_the_reach_is_chosen_for_an_interrupted_vessel_with_islands_and_says_so() -> None:
    found, truth = vessel(22, 23, 31, island=True), vessel()
    (rule,) = choose_rules([found] * 2, [truth] * 2, (1,), [ML] * 2)
    assert (rule.reach_mm, rule.largest, rule.smallest_ml, rule.holes) == (5.0, False, 0.0, False)
    both, all_found = int(vessel(22, 23, 31).sum()), int(found.sum())
    gain = 2 * both * (1 / (both + truth.sum()) - 1 / (all_found + truth.sum()))
    assert rule.gain == pytest.approx(gain, abs=1e-5)
    (line,) = rules_in_words((rule,), {1: "artery"})
    assert line.startswith("artery: pieces linked to the largest by gaps up to 5 mm are kept (validation Dice +")


def test_the_reach_is_not_chosen_where_all_that_lies_apart_is_wrong_or_right() -> None:
    (rule,) = choose_rules([vessel(island=True)] * 2, [vessel()] * 2, (1,), [ML] * 2)
    assert rule.largest
    assert rule.reach_mm == 0
    assert choose_rules([vessel(22, 23, island=True)] * 2, [vessel(island=True)] * 2, (1,), [ML] * 2) == ()


def test_a_rule_that_was_stored_before_there_was_a_reach_has_none() -> None:
    stored = '{"label": 1, "largest": false, "smallest_ml": 0.5, "holes": true, "gain": 0.01}'
    assert PostprocessRule.model_validate_json(stored).reach_mm == 0


def test_a_rule_is_chosen_where_it_helps_and_says_what_it_gains() -> None:
    truths = [masked(ORGAN)] * 3
    (rule,) = choose_rules([masked(ORGAN, CRUMB)] * 3, truths, (1, 2), [ML] * 3)
    assert (rule.label, rule.largest, rule.holes) == (1, True, False)
    assert rule.gain == pytest.approx(1 - 2 * 125 / (125 + 127), abs=1e-5)
    assert rules_in_words((rule,), {1: "liver"}) == ["liver: the largest piece is kept (validation Dice +0.79 %)"]


def test_the_size_of_pieces_is_learnt_from_whole_label_maps_alone() -> None:
    whole, sparse = masked(ORGAN), masked(ORGAN)
    sparse[::2] = IGNORED  # every other slice is not annotated
    volumes = []
    for truths in ([whole, sparse], [sparse, sparse]):
        pairs = list(_in_boxes([masked(ORGAN)] * 2, truths, 1, [ML] * 2))
        volumes.append({rule.smallest_ml for rule in _candidates(1, pairs)} - {0.0})
    assert volumes == [{0.0025, 0.0125}, set()]


def test_no_rule_is_chosen_where_the_organ_really_is_in_pieces_or_full_of_holes() -> None:
    truth = masked(ORGAN, CRUMB, HOLE)
    assert choose_rules([truth] * 2, [truth] * 2, (1, 2), [ML] * 2) == ()


def test_an_organ_that_no_case_has_gets_no_rule() -> None:
    assert choose_rules([masked()], [masked()], (1, 2), [ML]) == ()


def test_a_hole_that_another_organ_fills_gains_nothing() -> None:
    truth, found = masked(ORGAN), masked(ORGAN, OTHER)
    assert choose_rules([found] * 2, [truth] * 2, (1, 2), [ML] * 2) == ()


def test_where_slices_are_seen_one_by_one_each_has_its_own_holes() -> None:
    ring = np.zeros((2, 7, 7), np.uint8)
    ring[:, 1:6, 1:6], ring[:, 3, 3] = 1, 0
    ring[1, 3, 3:] = 0  # open to the outside, so that the hole of the first slice is so through the second
    rule = PostprocessRule(label=1, holes=True)
    for flat, filled in ((None, 0), (0, 1)):
        mask = ring.copy()
        apply_rules(mask, (rule,), spacing_mm=ML, flat=flat)
        assert (mask[0, 3, 3], mask[1, 3, 3]) == (filled, 0)
    alone = ring[:1].copy()
    apply_rules(alone, (rule,), spacing_mm=ML, flat=0)
    assert alone[0, 3, 3] == 1
    truth = np.zeros_like(ring)
    truth[:, 1:6, 1:6] = 1
    for flat, chosen in ((None, ()), (0, (True,))):
        rules = choose_rules([ring[:1]] * 2, [truth[:1]] * 2, (1,), [ML] * 2, flat)
        assert tuple(one.holes for one in rules) == chosen
