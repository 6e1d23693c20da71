"""Tests of autoseg.metrics.loss_kinds: small masks in which every wrong voxel is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from autoseg.labels import LabelMap
from autoseg.metrics.loss_kinds import KINDS
from autoseg.metrics.pair import OrganPair, organ_pairs

LEFT, RIGHT, NEAR = 1, 2, 3
ORGANS = {LEFT: (LEFT,), RIGHT: (RIGHT,), NEAR: (NEAR,)}


def row(*values: int) -> LabelMap:
    """A label map of one line of voxels along x."""
    return np.array([[values]], dtype=np.uint8)


def pair_of(prediction: LabelMap, truth: LabelMap, spacing_mm: tuple[float, float, float]) -> OrganPair:
    return organ_pairs(prediction, truth, ORGANS, spacing_mm, {LEFT: RIGHT, RIGHT: LEFT})[LEFT]


def lost(prediction: LabelMap, truth: LabelMap, x_mm: float = 2.0) -> dict[str, float]:
    """The wrong voxels by kind, times the voxels of both masks; faces across z and y (100 mm a voxel) cut nothing."""
    pair = pair_of(prediction, truth, (100.0, 100.0, x_mm))
    assert pair.lost is not None
    whole = pair.overlap.prediction + pair.overlap.truth
    return {kind: round(share * whole) for kind, share in pair.lost.items() if share}


# the outermost voxels of each line are background, so that along x no face is reached; y and z have one voxel only
def inner(*lines: LabelMap) -> tuple[LabelMap, ...]:
    return tuple(np.pad(line, 1) for line in lines)


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (row(0, 1, 1, 1, 0), row(0, 0, 1, 1, 1), {"leak": 1, "short": 1}),
        (row(1, 1, 0, 0, 0), row(1, 1, 0, 1, 1), {"missed": 2}),
        (row(0, 0, 0, 0, 0), row(0, 1, 1, 1, 0), {"missed": 3}),
        (row(1, 1, 0, 0, 1), row(1, 1, 0, 0, 0), {"extra": 1}),
        (row(1, 1, 1, 0, 1), row(1, 1, 2, 2, 2), {"side": 2}),
        (row(1, 2, 2, 0, 0), row(1, 1, 1, 0, 0), {"side": 2}),
        (row(1, 1, 1, 1, 0), row(1, 1, 3, 0, 0), {"other_organ": 1, "leak": 1}),
        (row(1, 3, 3, 0, 0), row(1, 1, 1, 1, 0), {"other_organ": 2, "far_short": 1}),
        (row(3, 3, 3, 0, 0), row(1, 1, 3, 0, 0), {"missed": 2}),
    ],
)
def test_each_wrong_voxel_has_its_kind(prediction: LabelMap, truth: LabelMap, expected: dict[str, int]) -> None:
    assert lost(*inner(prediction, truth)) == expected


def test_what_is_wrong_near_a_face_that_the_organ_reaches_is_cut() -> None:
    prediction, truth = np.zeros((3, 3, 8), np.uint8), np.zeros((3, 3, 8), np.uint8)
    truth[1, 1, 0:6], prediction[1, 1, 3:8] = LEFT, LEFT
    # 4 mm a voxel: voxels 0, 1 and 2 begin within 10 mm of the face at x = 0; the two beyond lie 4 and 8 mm off
    assert lost(prediction, truth, x_mm=4.0) == {"cut": 3, "leak": 1, "far_beyond": 1}
    assert lost(prediction, truth, x_mm=4.9) == {"cut": 3, "leak": 1, "far_beyond": 1}
    assert lost(prediction, truth, x_mm=6.0) == {"cut": 2, "far_short": 1, "far_beyond": 2}


def test_a_single_slice_is_not_cut_by_the_image_above_and_below_it() -> None:
    prediction, truth = np.zeros((1, 9, 20), np.uint8), np.zeros((1, 9, 20), np.uint8)
    truth[0, 3:6, 3:6], prediction[0, 3:6, 3:8] = LEFT, LEFT
    assert lost(prediction, truth, x_mm=1.0) == {"leak": 6}
    truth[0, 3:6, 0:3] = LEFT  # now it reaches a true side, and the two columns lie within 10 mm of it
    assert lost(prediction, truth, x_mm=1.0) == {"cut": 15}


def test_what_lies_more_than_five_millimetres_off_is_far_and_five_are_not() -> None:
    truth = row(*[0] * 9, 1, 1, 1, *[0] * 9)
    too_long = row(*[0] * 9, *[1] * 11, 0)  # 8 voxels beyond the truth, 1 to 8 mm from it
    assert lost(*inner(too_long, truth), x_mm=1.0) == {"leak": 5, "far_beyond": 3}
    assert lost(*inner(truth, too_long), x_mm=1.0) == {"short": 5, "far_short": 3}
    assert lost(*inner(too_long, truth), x_mm=2.5) == {"leak": 2, "far_beyond": 6}


def test_far_voxels_are_those_of_a_distance_transform() -> None:
    z, y, x = np.indices((30, 30, 40))
    truth = ((z - 15) / 6) ** 2 + ((y - 15) / 8) ** 2 + ((x - 15) / 9) ** 2 < 1
    prediction = ((z - 14) / 9) ** 2 + ((y - 16) / 7) ** 2 + ((x - 20) / 14) ** 2 < 1
    spacing_mm = (1.5, 1.0, 0.8)
    share = pair_of(prediction.astype(np.uint8), truth.astype(np.uint8), spacing_mm).lost
    whole = np.count_nonzero(prediction) + np.count_nonzero(truth)
    assert share is not None
    for kind, wrong, other in (
        ("far_beyond", prediction & ~truth, truth),
        ("far_short", truth & ~prediction, prediction),
    ):
        far = wrong & (ndimage.distance_transform_edt(~other, spacing_mm) > 5)
        assert round(share[kind] * whole) == np.count_nonzero(far)
    assert share["far_beyond"] * whole > 50


def test_all_kinds_together_are_what_the_dice_lacks() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        prediction, truth = (rng.integers(0, 4, (4, 5, 6), dtype=np.uint8) for _ in range(2))
        pair = pair_of(prediction, truth, (3.0, 3.0, 3.0))
        assert pair.lost is not None
        assert pair.overlap.dice is not None
        assert tuple(pair.lost) == tuple(KINDS)
        assert sum(pair.lost.values()) == pytest.approx(1 - pair.overlap.dice)


def test_a_region_that_lies_within_another_is_no_other_organ() -> None:
    prediction, truth = inner(row(2, 2, 1, 0, 0), row(1, 2, 3, 0, 0))
    pairs = organ_pairs(prediction, truth, {1: (1, 2), 2: (2,), 3: (3,)}, (100.0, 100.0, 2.0))
    whole, lesion = ({kind: share for kind, share in (pairs[key].lost or {}).items() if share} for key in (1, 2))
    assert list(whole) == ["other_organ"]  # the spleen's voxel that was taken for liver
    assert list(lesion) == ["leak"]  # liver that was taken for its lesion


def test_an_organ_in_neither_map_loses_nothing() -> None:
    assert pair_of(row(0, 2, 0), row(0, 2, 0), (1.0, 1.0, 1.0)).lost is None
