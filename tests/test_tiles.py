"""Tests of autoseg.inference.tiles."""

from __future__ import annotations

import made
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autoseg.inference.tiles import predict_probabilities, tile_starts
from autoseg.network.unet import UNet3D
from autoseg.plan import NetworkPlan, Plan, Stage

FOUR = NetworkPlan(stages=tuple(Stage(features=(2, 2)) for _ in range(3)))  # divisor 4


class Pointwise(nn.Module):
    """Logits of each voxel from that voxel alone: tiles and padding cannot matter."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv3d(1, 3, kernel_size=1)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(tuple(image.shape[2:]))
        return self.layer(image.float())


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in float32, so that results can be compared to 1e-6."""
    monkeypatch.setattr("autoseg.network.device.has_fast_bfloat16", lambda _: False)


def plan(**changes: object) -> Plan:
    return made.plan(**({"network": FOUR, "tile_depth": 4} | changes))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)


def alone(network: nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(image)[None])[0].softmax(dim=0).numpy()


@given(st.integers(1, 300), st.integers(1, 80), st.floats(0, 0.95))
def test_tiles_cover_every_slice_and_stay_inside(depth: int, tile: int, overlap: float) -> None:
    starts = tile_starts(depth, tile, overlap)
    covered = {z for start in starts for z in range(start, min(start + tile, depth))}
    assert covered == set(range(depth))
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    assert starts[-1] == max(0, depth - tile)


@given(st.integers(10, 300), st.integers(4, 80))
def test_tiles_share_at_least_about_the_wanted_part(depth: int, tile: int) -> None:
    steps = np.diff(tile_starts(depth, tile, 0.5))
    assert (steps <= -(-tile // 2) + 1).all()  # evenly spread: rounding adds at most a slice
    assert len(steps) == 0 or np.ptp(steps) <= 1


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 13)] * 3), st.sampled_from([4, 8, 40]), st.floats(0, 0.9))
def test_a_network_that_looks_at_one_voxel_gives_the_same_in_tiles_and_whole(
    shape: tuple[int, int, int], depth: int, overlap: float
) -> None:
    network, image = Pointwise(0), noise(*shape)
    found = predict_probabilities([network], plan(tile_depth=depth, tile_overlap=overlap), image)
    assert found.shape == (3, *shape)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, alone(network, image), atol=1e-6)


def test_tiles_have_the_full_extent_in_plane_and_what_the_network_can_divide() -> None:
    network = Pointwise(0)
    predict_probabilities([network], plan(), noise(10, 9, 7))
    assert set(network.seen) == {(4, 12, 8)}
    assert len(network.seen) == 5  # 12 padded slices at steps of 2


def test_outside_an_image_lies_air_half_on_each_side() -> None:
    class Spy(Pointwise):
        def forward(self, image: Tensor) -> Tensor:
            self.image = image
            return super().forward(image)

    network = Spy(0)
    predict_probabilities([network], plan(), noise(4, 4, 1))
    assert (network.image[0, 0, :, :, [0, 2, 3]] == made.CT.pad_value).all()  # 3 more columns: 1 before, 2 after
    np.testing.assert_array_equal(network.image[0, 0, :, :, 1], noise(4, 4, 1)[0, :, :, 0])


def test_one_tile_of_a_real_network_is_that_network() -> None:
    torch.manual_seed(0)
    network = UNet3D(1, 3, FOUR).eval()
    image = noise(8, 8, 12)
    found = predict_probabilities([network], plan(tile_depth=8), image)
    np.testing.assert_allclose(found, alone(network, image), atol=1e-5)


def test_where_tiles_overlap_their_probabilities_are_averaged() -> None:
    torch.manual_seed(0)
    network = UNet3D(1, 3, FOUR).eval()
    image = noise(6, 4, 4)
    image = np.concatenate([image, noise(2, 4, 4)], axis=1)  # 8 slices, tiles at 0, 2, 4
    tiles = {start: alone(network, image[:, start : start + 4]) for start in (0, 2, 4)}
    found = predict_probabilities([network], plan(), image)
    np.testing.assert_allclose(found[:, :2], tiles[0][:, :2], atol=1e-5)
    np.testing.assert_allclose(found[:, 2:4], (tiles[0][:, 2:] + tiles[2][:, :2]) / 2, atol=1e-5)
    np.testing.assert_allclose(found[:, 6:], tiles[4][:, 2:], atol=1e-5)


def test_an_ensemble_is_the_mean_of_its_networks() -> None:
    networks, image = [Pointwise(seed) for seed in range(3)], noise(7, 5, 6)
    expected = np.mean([alone(network, image) for network in networks], axis=0)
    np.testing.assert_allclose(predict_probabilities(networks, plan(), image), expected, atol=1e-6)


def test_probabilities_sum_to_one() -> None:
    network = UNet3D(1, 3, FOUR).eval()
    np.testing.assert_allclose(predict_probabilities([network], plan(), noise(9, 5, 6)).sum(axis=0), 1, atol=1e-5)
