"""Overlap and distances, worked by hand, by properties, and against the definition written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Triple
from autoseg.metrics.overlap import Overlap, dice, overlap, overlap_of_pairs
from autoseg.metrics.surface import SurfaceDistances, label_distances, surface_distances

Mask = npt.NDArray[np.bool_]
UNIT = (1.0, 1.0, 1.0)

masks = hnp.arrays(np.bool_, (3, 4, 5))
label_maps = hnp.arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3))
spacings = st.tuples(*[st.floats(0.25, 8.0)] * 3)


def mask_of(*voxels: tuple[int, int, int], shape: tuple[int, int, int] = (8, 8, 8)) -> Mask:
    mask = np.zeros(shape, dtype=np.bool_)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def border_of(mask: Mask) -> Mask:
    return mask & ~ndimage.binary_erosion(mask)


def distances(a: Mask, b: Mask, spacing_mm: Triple) -> SurfaceDistances | None:
    return surface_distances(a, b, (1,), spacing_mm)[1]


def hd95_mm(a: Mask, b: Mask, spacing_mm: Triple) -> float | None:
    found = distances(a, b, spacing_mm)
    return None if found is None else found.hausdorff_mm(95)


def naive_distances(a: Mask, b: Mask, spacing_mm: Triple) -> tuple[Any, Any]:
    """The definition, voxel by voxel: the directed distances of every border voxel."""

    def border(mask: Mask) -> npt.NDArray[np.float64]:
        padded = np.pad(mask, 1)
        steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
        found = [
            (z, y, x)
            for z, y, x in np.argwhere(mask)
            if not all(padded[z + 1 + dz, y + 1 + dy, x + 1 + dx] for dz, dy, dx in steps)
        ]
        return np.asarray(np.array(found) * np.array(spacing_mm))

    one, other = border(a), border(b)
    apart = np.linalg.norm(one[:, None] - other[None, :], axis=2)
    return apart.min(axis=1), apart.min(axis=0)


def test_overlap_counts_each_label_in_prediction_truth_and_both() -> None:
    truth = np.array([[[1, 1, 1, 1, 2, 0]]], dtype=np.uint8)
    prediction = np.array([[[1, 1, 2, 0, 2, 2]]], dtype=np.uint8)
    assert overlap(prediction, truth, [1, 2]) == {
        1: Overlap(prediction=2, truth=4, both=2),
        2: Overlap(prediction=3, truth=1, both=1),
    }


def test_dice_by_hand() -> None:
    truth = np.array([[[1, 1, 1, 1, 2, 0]]], dtype=np.uint8)
    prediction = np.array([[[1, 1, 2, 0, 2, 2]]], dtype=np.uint8)
    assert dice(prediction, truth, [1, 2]) == {1: pytest.approx(2 * 2 / 6), 2: pytest.approx(2 * 1 / 4)}


@pytest.mark.parametrize(
    ("prediction", "truth", "expected", "missed"),
    [(0, 0, None, False), (0, 4, 0.0, True), (4, 0, 0.0, False)],
    ids=["absent in both", "missed", "predicted where absent"],
)
def test_empty_organs_follow_the_rule(prediction: int, truth: int, expected: float | None, missed: bool) -> None:
    counts = Overlap(prediction=prediction, truth=truth, both=0)
    assert counts.dice == expected
    assert counts.missed is missed


def test_values_that_are_not_asked_for_count_as_background() -> None:
    truth = np.array([[[-1, 7, 3, 900]]], dtype=np.int64)
    prediction = np.array([[[3, 3, 3, 3]]], dtype=np.uint16)
    assert overlap(prediction, truth, [3, 5]) == {
        3: Overlap(prediction=4, truth=1, both=1),
        5: Overlap(prediction=0, truth=0, both=0),
    }


def test_overlap_keeps_the_order_of_the_labels() -> None:
    nothing = np.zeros((1, 1, 1), dtype=np.uint8)
    assert list(overlap(nothing, nothing, [5, 2, 9])) == [5, 2, 9]
    assert overlap(nothing, nothing, []) == {}


@given(label_maps)
def test_a_map_agrees_with_itself(labels: npt.NDArray[np.uint8]) -> None:
    for value, found in dice(labels, labels, [1, 2, 3]).items():
        assert found == (1.0 if (labels == value).any() else None)


@given(label_maps, label_maps)
def test_dice_is_symmetric_and_between_0_and_1(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> None:
    found = dice(a, b, [1, 2, 3])
    assert found == dice(b, a, [1, 2, 3])
    assert all(value is None or 0 <= value <= 1 for value in found.values())


@pytest.mark.parametrize("metric", [overlap, dice])
def test_shapes_must_be_the_same(metric: object) -> None:
    a, b = np.zeros((1, 2, 3), dtype=np.uint8), np.zeros((1, 2, 4), dtype=np.uint8)
    with pytest.raises(VolumeError, match=r"\(1, 2, 3\).*\(1, 2, 4\)"):
        metric(a, b, [1])  # type: ignore[operator]


def test_voxels_must_be_integers() -> None:
    whole, real = np.zeros((1, 1, 1), dtype=np.uint8), np.zeros((1, 1, 1), dtype=np.float32)
    with pytest.raises(VolumeError, match=r"truth must hold integers, got float32"):
        overlap(whole, real, [1])  # type: ignore[arg-type]


@pytest.mark.parametrize(("axis", "expected_mm"), [(0, 6.0), (1, 4.0), (2, 1.0)])
def test_hd95_counts_millimetres_not_voxels(axis: int, expected_mm: float) -> None:
    moved = [3, 3, 3]
    moved[axis] += 2
    found = hd95_mm(mask_of((3, 3, 3)), mask_of((moved[0], moved[1], moved[2])), (3.0, 2.0, 0.5))
    assert found == pytest.approx(expected_mm)


def test_hd95_is_the_larger_of_the_two_directions() -> None:
    # from the single voxel the nearest is 0 mm away; from the far voxel of the pair it is 4 mm:
    # the 95th percentile of {0, 4} is 3.8
    assert hd95_mm(mask_of((0, 0, 0)), mask_of((0, 0, 0), (4, 0, 0)), UNIT) == pytest.approx(3.8)
    assert hd95_mm(mask_of((0, 0, 0), (4, 0, 0)), mask_of((0, 0, 0)), UNIT) == pytest.approx(3.8)


def test_hd95_measures_between_borders_only() -> None:
    solid = np.zeros((9, 9, 9), dtype=np.bool_)
    solid[1:8, 1:8, 1:8] = True
    hollow = solid.copy()
    hollow[4, 4, 4] = False  # its six neighbours become border: 6 of 224 voxels, fewer than 5 in 100
    assert hd95_mm(solid, hollow, UNIT) == 0.0


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [(mask_of((1, 1, 1)), mask_of()), (mask_of(), mask_of((1, 1, 1))), (mask_of(), mask_of())],
    ids=["no truth", "no prediction", "neither"],
)
def test_hd95_is_undefined_where_a_mask_is_empty(prediction: Mask, truth: Mask) -> None:
    assert hd95_mm(prediction, truth, UNIT) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_distances_take_any_integers(dtype: type[np.integer]) -> None:
    truth = np.array([[[2, 0, 0, 100]]]).astype(dtype)
    prediction = np.array([[[0, 0, 2, 1]]]).astype(dtype)
    found = surface_distances(prediction, truth, [1, 2, 5], (1.0, 1.0, 1.5))
    assert {value: d if d is None else d.hausdorff_mm() for value, d in found.items()} == {1: None, 2: 3.0, 5: None}


def test_average_distance_weighs_every_border_voxel_the_same() -> None:
    # prediction: voxels 0 and 4; truth: voxel 0. Distances there 0 and 4, back 0: the mean of three is 4/3
    found = distances(mask_of((0, 0, 0), (4, 0, 0)), mask_of((0, 0, 0)), UNIT)
    assert found is not None
    assert found.average_mm == pytest.approx(4 / 3)
    assert found.hausdorff_mm() == 4.0


@pytest.mark.parametrize(("tolerance_mm", "expected"), [(0.0, 2 / 3), (3.9, 2 / 3), (4.0, 1.0)])
def test_the_share_within_a_tolerance_counts_both_borders_and_the_tolerance_itself(
    tolerance_mm: float, expected: float
) -> None:
    found = distances(mask_of((0, 0, 0), (4, 0, 0)), mask_of((0, 0, 0)), UNIT)
    assert found is not None
    assert found.share_within(tolerance_mm) == pytest.approx(expected)


@pytest.mark.parametrize(("spacing_mm", "steps"), [(float(np.float32(0.4)), 5), (0.8, 3), (2.0000001, 1)])
def test_borders_as_far_apart_as_the_tolerance_are_within_it_wherever_they_lie(spacing_mm: float, steps: int) -> None:
    tolerance_mm = round(steps * spacing_mm, 3)
    for place in range(60):
        first, second = (np.zeros((80, 1, 1), np.int32) for _ in range(2))
        first[place], second[place + steps] = 1, 1
        found = surface_distances(first, second, [1], (spacing_mm, 1.0, 1.0))[1]
        assert found is not None
        assert (found.share_within(tolerance_mm), found.share_within(tolerance_mm - 0.001)) == (1.0, 0.0), place


@settings(max_examples=150)
@given(masks, masks, spacings)
def test_distances_equal_the_definition_and_are_symmetric(a: Mask, b: Mask, spacing_mm: Triple) -> None:
    found, turned = distances(a, b, spacing_mm), distances(b, a, spacing_mm)
    if found is None or turned is None:
        assert found is turned is None
        assert not (a.any() and b.any())
        return
    there, back = naive_distances(a, b, spacing_mm)
    assert np.sort(found.to_truth_mm) == pytest.approx(np.sort(there))
    assert np.sort(found.to_prediction_mm) == pytest.approx(np.sort(back))
    assert found.average_mm == pytest.approx(turned.average_mm)
    assert found.hausdorff_mm(95) == turned.hausdorff_mm(95)
    assert found.share_within(1.0) == turned.share_within(1.0)


@given(masks, spacings)
def test_a_mask_lies_at_no_distance_from_itself(mask: Mask, spacing_mm: Triple) -> None:
    found = distances(mask, mask, spacing_mm)
    if found is None:
        assert not mask.any()
        return
    assert (found.hausdorff_mm(), found.average_mm, found.share_within(0.0)) == (0.0, 0.0, 1.0)


@given(label_maps, label_maps, spacings)
def test_distances_of_labels_are_those_of_their_masks(
    a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], spacing_mm: Triple
) -> None:
    found = surface_distances(a, b, [3, 1], spacing_mm, threads=2)
    assert list(found) == [3, 1]
    for value, of_label in found.items():
        of_mask = distances(a == value, b == value, spacing_mm)
        assert (of_label is None) == (of_mask is None)
        if of_label is not None and of_mask is not None:
            assert of_label.to_truth_mm.tolist() == of_mask.to_truth_mm.tolist()


@settings(max_examples=60)
@given(label_maps, label_maps)
def test_overlap_equals_simpleitk(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> None:
    measure = sitk.LabelOverlapMeasuresImageFilter()
    measure.Execute(sitk.GetImageFromArray(a), sitk.GetImageFromArray(b))  # source: prediction, target: truth
    for value, counts in overlap(a, b, [1, 2, 3]).items():
        if counts.truth and counts.prediction:
            assert counts.dice == pytest.approx(measure.GetDiceCoefficient(value))
            assert counts.iou == pytest.approx(measure.GetJaccardCoefficient(value))
            assert counts.sensitivity == pytest.approx(1 - measure.GetFalseNegativeError(value))
            assert counts.precision == pytest.approx(1 - measure.GetFalseDiscoveryRate(value))


@settings(max_examples=60)
@given(masks, masks, spacings)
def test_the_hausdorff_distance_equals_simpleitk(a: Mask, b: Mask, spacing_mm: Triple) -> None:
    found = distances(a, b, spacing_mm)
    if found is None:
        return
    images = [sitk.GetImageFromArray(border_of(mask).astype(np.uint8)) for mask in (a, b)]
    for image in images:
        image.SetSpacing(spacing_mm[::-1])
    measure = sitk.HausdorffDistanceImageFilter()
    measure.Execute(*images)
    assert found.hausdorff_mm() == pytest.approx(measure.GetHausdorffDistance(), rel=1e-5)


@pytest.mark.parametrize(
    ("prediction", "truth", "both", "expected"),
    [
        (3, 5, 2, (0.5, 2 / 6, 2 / 5, 2 / 3)),
        (0, 0, 0, (None, None, None, None)),
        (0, 4, 0, (0.0, 0.0, 0.0, None)),
        (4, 0, 0, (0.0, 0.0, None, 0.0)),
    ],
)
def test_ratios_by_hand_and_where_they_are_undefined(
    prediction: int, truth: int, both: int, expected: tuple[float | None, ...]
) -> None:
    found = Overlap(prediction=prediction, truth=truth, both=both)
    assert (found.dice, found.iou, found.sensitivity, found.precision) == expected


def test_overlaps_of_organs_that_lie_within_each_other_follow_from_pairs_of_numbers() -> None:
    pairs = np.array([[90, 1, 0], [2, 3, 4], [0, 5, 6]])  # predicted 0, 1, 2 by true 0, 1, 2
    found = overlap_of_pairs(pairs, {7: (1, 2), 8: (2,)})
    assert found[7] == Overlap(prediction=20, truth=19, both=18)
    assert found[8] == Overlap(prediction=11, truth=10, both=6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_of_a_single_slice_the_contour_counts_and_not_the_area(axis: int) -> None:
    square, wider = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    square[4:14, 4:14] = wider[4:14, 4:17] = 1  # 36 pixels of contour; three columns more: 42
    found = distances(np.expand_dims(wider, axis), np.expand_dims(square, axis), UNIT)  # type: ignore[arg-type]
    assert found is not None
    assert (len(found.to_truth_mm), len(found.to_prediction_mm)) == (42, 36)
    assert found.hausdorff_mm() == 3.0
    unknown = np.zeros((20, 20), np.bool_)
    unknown[0] = True
    of_known = label_distances(
        np.expand_dims(wider, axis),
        np.expand_dims(square, axis),
        1,
        (ndimage.find_objects(np.expand_dims(wider, axis))[0], ndimage.find_objects(np.expand_dims(square, axis))[0]),
        UNIT,
        np.expand_dims(unknown, axis),
    )
    assert of_known is not None
    assert len(of_known.to_truth_mm) == 42
