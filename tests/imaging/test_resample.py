"""Tests of autoseg.imaging.resample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from autoseg.imaging import resample
from autoseg.imaging.grid import Voxels
from autoseg.imaging.resample import axis_weights, resample_image, resample_label

shapes = st.tuples(*[st.integers(1, 7)] * 3)
seeds = st.integers(0, 1000)
quick = settings(max_examples=40)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def trilinear(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return torch's own resampling of (C, Z, Y, X): the reference."""
    return interpolate(torch.from_numpy(array)[None], shape, mode="trilinear", align_corners=False)[0].numpy()


@quick
@given(shapes, st.tuples(*[st.integers(1, 4)] * 3), seeds)
def test_whole_factors_give_the_mean_of_each_block(
    shape: tuple[int, int, int], factors: tuple[int, int, int], seed: int
) -> None:
    (z, y, x), (a, b, c) = shape, factors
    image = noise(seed, 2, z * a, y * b, x * c)
    expected = image.reshape(2, z, a, y, b, x, c).mean(axis=(2, 4, 6))
    np.testing.assert_allclose(resample_image(image, shape), expected, atol=1e-5)


def test_three_voxels_in_two_share_the_middle_one() -> None:
    assert axis_weights(3, 2) == pytest.approx(np.array([[2, 1, 0], [0, 1, 2]]) / 3)


@given(st.integers(1, 40), st.integers(1, 40))
def test_each_axis_matrix_has_no_negative_weight_and_rows_that_sum_to_one(size_in: int, size_out: int) -> None:
    weights = axis_weights(size_in, size_out)
    assert weights.shape == (size_out, size_in)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


@quick
@given(shapes, shapes)
def test_a_constant_stays_constant(shape: tuple[int, int, int], new: tuple[int, int, int]) -> None:
    np.testing.assert_allclose(resample_image(np.full((1, *shape), 7.5), new), 7.5, rtol=1e-6)


@quick
@given(shapes, st.tuples(*[st.integers(0, 9)] * 3), seeds)
def test_more_voxels_are_what_torch_interpolates(
    shape: tuple[int, int, int], more: tuple[int, int, int], seed: int
) -> None:
    z, y, x = (n + m for n, m in zip(shape, more, strict=True))
    image = noise(seed, 2, *shape)
    np.testing.assert_allclose(resample_image(image, (z, y, x)), trilinear(image, (z, y, x)), atol=1e-5)


def test_the_same_shape_is_the_same_image() -> None:
    image = noise(0, 2, 3, 4, 5)
    label = np.random.default_rng(0).integers(0, 9, (3, 4, 5))
    np.testing.assert_array_equal(resample_image(image, (3, 4, 5)), image)
    np.testing.assert_array_equal(resample_label(label, (3, 4, 5)), label)


def test_slabs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise(0, 1, 11, 6, 5)
    at_once = [resample_image(image, (depth, 3, 9)) for depth in (4, 23)]
    monkeypatch.setattr(resample, "SLAB_VOXELS", 60)  # two slices of 6 x 5
    for expected, depth in zip(at_once, (4, 23), strict=True):
        np.testing.assert_allclose(resample_image(image, (depth, 3, 9)), expected, atol=1e-6)


@quick
@given(shapes, shapes, seeds)
def test_a_label_map_never_gains_a_class(shape: tuple[int, int, int], new: tuple[int, int, int], seed: int) -> None:
    label = np.random.default_rng(seed).choice([0, 3, 7, 200], shape)
    found = resample_label(label, new)
    assert found.shape == new
    assert set(np.unique(found)) <= set(np.unique(label))


def test_the_class_with_most_of_a_voxel_takes_it_and_a_tie_goes_to_the_lowest() -> None:
    label = np.array([1, 5, 5, 5, 2, 1], dtype=np.uint8)[None, None]  # pairs: 1 5, 5 5, 2 1
    assert resample_label(label, (1, 1, 3)).tolist() == [[[1, 5, 1]]]
    assert resample_label(label, (1, 1, 1)).tolist() == [[[5]]]


@given(st.tuples(*[st.integers(1, 14)] * 3), st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 99))
def test_the_vote_is_that_over_all_classes_of_the_whole_volume(shape: Voxels, to: Voxels, seed: int) -> None:
    label = np.random.default_rng(seed).choice([0, 0, 0, 1, 2, 9], size=shape).astype(np.uint8)
    shares = np.stack([resample_image((label == value)[None], to)[0] for value in range(10)])
    found = resample_label(label, to)
    won = np.take_along_axis(shares, found[None].astype(int), axis=0)[0]
    assert (won >= shares.max(axis=0) - 2e-6).all()
    lower = np.arange(10)[:, None, None, None] < found
    assert not (lower & (shares > won + 2e-6)).any()
