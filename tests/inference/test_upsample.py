"""Tests of autoseg.inference.upsample: the reference is torch's trilinear interpolation of all classes, then argmax."""

from __future__ import annotations

import made
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from autoseg.imaging.grid import Voxels
from autoseg.inference import upsample
from autoseg.inference.upsample import Upsampler, _contenders

seeds = st.integers(0, 1000)


def probabilities_of(shape: Voxels, classes: int, smooth: bool, seed: int) -> Tensor:
    """Return random probabilities: of independent voxels, or of a few large regions."""
    noise = torch.randn(1, classes, *shape, generator=torch.Generator().manual_seed(seed))
    if smooth:
        noise = interpolate(interpolate(noise, (2, 2, 2), mode="area"), shape, mode="trilinear") * 9
    return noise[0].softmax(dim=0)


def reference(probabilities: Tensor, shape: Voxels) -> tuple[np.ndarray, np.ndarray]:
    """Return the winning classes, and where they win by more than rounding."""
    full = interpolate(probabilities[None], shape, mode="trilinear", align_corners=False)[0]
    second, best = full.sort(dim=0).values[-2:]
    return full.argmax(dim=0).numpy(), (best - second >= 1e-6).numpy()


@pytest.mark.parametrize("dense", [0.0, 0.15, 1.0])  # all by planes, either way, all by cells
@settings(max_examples=60)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 24)] * 3),
    st.sampled_from([2, 3, 4, 6, 40]),
    st.booleans(),
    st.lists(st.integers(1, 4), min_size=9, max_size=9),
    seeds,
)
def test_the_mask_is_that_of_interpolating_all_classes(
    dense: float,
    monkeypatch: pytest.MonkeyPatch,
    working: Voxels,
    full: Voxels,
    classes: int,
    smooth: bool,
    depths: list[int],
    seed: int,
) -> None:
    monkeypatch.setattr(upsample, "DENSE", dense)
    probabilities = probabilities_of(working, classes, smooth, seed)
    expected, clear = reference(probabilities, full)
    upsampler, taken = Upsampler(made.scheme(classes), working, full), 0
    for depth in depths:  # slabs of any depth give the same
        if taken < working[0]:
            upsampler.add(probabilities[:, taken : taken + depth])
        taken += depth
    assert upsampler.mask.dtype == np.uint8
    np.testing.assert_array_equal(upsampler.mask[clear], expected[clear])
    np.testing.assert_array_equal(upsampler.coarse, probabilities.argmax(dim=0))


def test_a_factor_of_four_on_a_larger_volume_is_exact_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upsample, "CHUNK_VALUES", 5000)
    probabilities = probabilities_of((13, 16, 17), 8, True, seed=3)
    expected, clear = reference(probabilities, (52, 64, 68))
    np.testing.assert_array_equal(made.winning_class(probabilities.numpy(), (52, 64, 68))[clear], expected[clear])


def test_only_what_can_win_in_a_cell_is_interpolated_there() -> None:
    corners = torch.full((3, 8, 40), 0.001)
    corners[0, :4, 5] = corners[0, 4:, 7] = 0.9  # one of two
    corners[0, :4, 7] = corners[0, 4:, 5] = 0.05
    corners[1] = 0.025  # any
    corners[2, 0, [1, 2, 3]] = 0.3  # one of three
    found = {int(cell): c.tolist() for group, of in _contenders(corners) for cell, c in zip(group, of, strict=True)}
    assert found[0] == [5, 7]
    assert found[1] == list(range(40))
    assert {1, 2, 3} <= set(found[2])


def test_a_class_that_wins_at_no_corner_can_win_between() -> None:
    line = torch.tensor([[0.5, 0.05], [0.45, 0.45], [0.05, 0.5]])[:, None, None]  # classes at two voxels
    assert made.winning_class(line.numpy(), (1, 1, 8))[0, 0].tolist() == [0, 0, 1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("shape", [(4, 4, 4), (2, 2, 2), (1, 1, 1), (3, 5, 2)])
def test_a_tie_between_classes_takes_the_lowest(shape: Voxels) -> None:
    assert (made.winning_class(np.full((3, 2, 2, 2), 0.25, np.float32), shape) == 0).all()


def test_the_same_grid_takes_the_most_probable_class() -> None:
    probabilities = probabilities_of((5, 6, 7), 4, False, seed=0)
    np.testing.assert_array_equal(made.winning_class(probabilities.numpy(), (5, 6, 7)), probabilities.argmax(dim=0))


@settings(max_examples=40)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 24)] * 3), seeds)
def test_percent_is_the_interpolated_probability_rounded(working: Voxels, full: Voxels, seed: int) -> None:
    probability = probabilities_of(working, 3, True, seed)[1]
    expected = 100 * interpolate(probability[None, None], full, mode="trilinear", align_corners=False)[0, 0].numpy()
    found = upsample.to_percent(probability.numpy(), full)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.5 + 1e-3


def test_what_a_painter_took_is_kept_only_where_wanted() -> None:
    probabilities = probabilities_of((5, 4, 3), 4, True, 0)
    for keeping in (False, True):
        upsampler = Upsampler(made.scheme(4), (5, 4, 3), (9, 9, 9), keeping)
        upsampler.add(probabilities[:, :2])
        upsampler.add(probabilities[:, 2:])
        kept = upsampler.probabilities()
        assert (kept is not None) == keeping
        if kept is not None:
            assert kept.dtype == np.float16
            np.testing.assert_allclose(kept, probabilities.numpy(), atol=1e-3)
