"""Tests of autoseg.metrics.pair: organs that lie within each other are counted as the mask of each alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.metrics.overlap import overlap
from autoseg.metrics.pair import organ_pairs
from autoseg.metrics.registry import METRICS, nsd

GROUPS = {7: (1, 2, 3), 8: (2, 3), 9: (3,)}  # whole, core, enhancing
MM = (2.0, 1.0, 0.5)
maps = arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 4))


@given(maps, maps)
def test_a_region_is_counted_and_measured_as_its_own_mask_would_be(prediction: np.ndarray, truth: np.ndarray) -> None:
    pairs = organ_pairs(prediction, truth, GROUPS, MM)
    assert list(pairs) == list(GROUPS)
    for key, values in GROUPS.items():
        masks = [np.isin(label_map, values).astype(np.uint8) for label_map in (prediction, truth)]
        alone = organ_pairs(masks[0], masks[1], {1: (1,)}, MM)[1]
        assert pairs[key].overlap == alone.overlap == overlap(masks[0], masks[1], [1])[1]
        one, other = pairs[key].distances, alone.distances
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.hausdorff_mm(95) == pytest.approx(other.hausdorff_mm(95))
        for mask, expected in zip(pairs[key].masks, alone.masks, strict=True):
            np.testing.assert_array_equal(mask, expected)


def test_voxels_of_regions_are_counted_by_hand() -> None:
    prediction, truth = np.array([[[0, 1, 2, 3]]]), np.array([[[1, 1, 3, 0]]])
    counts = overlap(prediction, truth, GROUPS)
    assert [(c.prediction, c.truth, c.both) for c in counts.values()] == [(3, 3, 2), (2, 1, 1), (1, 1, 0)]


@pytest.mark.parametrize(("predicted", "nsd_hd"), [(slice(3, 9), (None, None)), (slice(0, 0), (0.0, 12.0))])
def test_where_no_border_is_known_distances_are_blank_and_a_missed_organ_is_still_missed(
    predicted: slice, nsd_hd: tuple[float | None, float | None]
) -> None:
    truth = np.full((12, 1, 1), 255, np.uint8)  # a scribble in what is not annotated
    truth[5:7], truth[:2] = 1, 0
    prediction = np.zeros_like(truth)
    prediction[predicted] = 1
    pair = organ_pairs(prediction, truth, {1: (1,)}, (1.0, 1e-9, 1e-9), ignored=255)[1]
    assert pair.overlap.dice == (1.0 if prediction.any() else 0.0)
    values = [metric.compute(pair) for metric in (nsd(2.0), METRICS["hd95_all_mm"])]
    assert values == pytest.approx(list(nsd_hd))
