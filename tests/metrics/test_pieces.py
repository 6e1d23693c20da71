"""Tests of autoseg.metrics.pieces, against a search of all pairs of pieces."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from autoseg.labels import Mask
from autoseg.metrics.pieces import count_pieces, each_piece, in_pieces


def line(text: str) -> Mask:
    return np.array([[[letter == "x" for letter in text]]])


@pytest.mark.parametrize(
    ("prediction", "truth", "matched", "missed", "invented"),
    [
        ("xxx....xx", "xxx....xx", 2, 0, 0),
        ("xxx......", "xxx....xx", 1, 1, 0),
        ("xxx..x...", "xxx......", 1, 0, 1),
        ("xxxxxxxxx", "xxx....xx", 0, 2, 1),  # one piece for two: IoU 3/9 and 2/9
        ("xxxxx....", "xxx......", 1, 0, 0),  # IoU 3/5
        ("xxxxxx...", "xxx......", 0, 1, 1),  # IoU 1/2 is not above it
        (".........", "xxx......", 0, 1, 0),
    ],
)
def test_pieces_by_hand(prediction: str, truth: str, matched: int, missed: int, invented: int) -> None:
    pieces = count_pieces(line(prediction), line(truth))
    assert (pieces.matched, pieces.missed, pieces.invented) == (matched, missed, invented)


@pytest.mark.parametrize(
    ("prediction", "truth", "f1", "dice"),
    [
        ("xxx....xx", "xxx....xx", 1.0, 1.0),
        ("xxx...xxx", "xxx....xx", 1.0, (1 + 4 / 5) / 2),
        ("xxx......", "xxx....xx", 2 / 3, 1 / 2),  # one is missed: 0
        ("xxxx.x...", "xxxxxx...", 2 / 3, (8 / 10) / 2),  # two on one: the larger is it (IoU 4/6), the other invented
        ("xxx.xx...", "xxxxxx...", 0.0, 0.0),  # two on one, neither above a half: IoU 3/6 and 2/6
        ("xxxxxxx..", "xxxxx.x..", 2 / 3, (10 / 12) / 2),  # one over two: the larger is found (IoU 5/7), one missed
        ("xxxxxxx..", "xxx.xxx..", 0.0, 0.0),  # one over two, IoU 3/7 with each
        ("xxxxx....", "xxxx.....", 1.0, 8 / 9),  # lesions that touch are one
        ("x........", ".........", 0.0, 0.0),
    ],
)
def test_f1_and_lesion_wise_dice_by_hand(prediction: str, truth: str, f1: float, dice: float) -> None:
    pieces = count_pieces(line(prediction), line(truth))
    assert (pieces.f1, pieces.dice) == (pytest.approx(f1), pytest.approx(dice))


def test_lesions_that_touch_by_a_corner_are_one() -> None:
    truth = np.zeros((2, 2, 4), np.bool_)
    truth[0, 0, 0] = truth[1, 1, 1] = truth[0, 0, 3] = True
    assert count_pieces(truth, truth).true == 2


def test_each_piece_has_its_outcome_its_voxels_and_its_middle() -> None:
    prediction, truth = line("xxxx..x.x"), line("xxx..x..x")
    pieces = [
        (piece.outcome, piece.predicted, piece.true, piece.shared, piece.centre[2])
        for piece in each_piece((in_pieces(prediction), in_pieces(truth)))
    ]
    assert pieces == [
        ("found", 4, 3, 3, 1.0), ("missed", 0, 1, 0, 5.0), ("found", 1, 1, 1, 8.0), ("invented", 1, 0, 0, 6.0)
    ]  # fmt: skip
    nothing = line(".........")
    assert [piece.outcome for piece in each_piece((in_pieces(nothing), in_pieces(truth)))] == ["missed"] * 3
    assert [piece.outcome for piece in each_piece((in_pieces(truth), in_pieces(nothing)))] == ["invented"] * 3


def test_pieces_are_those_that_a_search_of_all_pairs_matches() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        truth = rng.random((6, 12, 12)) < 0.06
        prediction = np.where(rng.random(truth.shape) < 0.02, ~truth, truth)
        ones, others = (label(mask, connectivity=3) for mask in (prediction, truth))
        ious = [
            ((ones == a) & (others == b)).sum() / ((ones == a) | (others == b)).sum()
            for a in range(1, ones.max() + 1)
            for b in range(1, others.max() + 1)
        ]
        pieces = count_pieces(prediction, truth)
        assert (pieces.predicted, pieces.true) == (ones.max(), others.max())
        matched = [iou for iou in ious if iou > 0.5]
        assert pieces.matched == len(matched)
        dice = sum(2 * iou / (1 + iou) for iou in matched)
        assert pieces.f1 == pytest.approx(len(matched) / ((ones.max() + others.max()) / 2))
        assert pieces.dice == pytest.approx(dice / (ones.max() + others.max() - len(matched)))
