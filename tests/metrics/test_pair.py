"""Tests of autoseg.metrics.pair: organs that lie within each other are counted as the mask of each alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoseg.metrics.overlap import overlap
from autoseg.metrics.pair import organ_pairs

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
