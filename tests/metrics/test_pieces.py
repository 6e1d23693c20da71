"""Tests of autoseg.metrics.pieces, against a search of all pairs of pieces."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from autoseg.labels import Mask
from autoseg.metrics.pieces import count_pieces


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
        assert pieces.matched == sum(iou > 0.5 for iou in ious)
