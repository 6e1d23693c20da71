"""Tests of autoseg.inference.tiles."""

from __future__ import annotations

import made
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autoseg.errors import TooLittleMemoryError
from autoseg.imaging.grid import Box
from autoseg.inference.stage import foreground_box
from autoseg.inference.tiles import (
    Ensemble,
    Tiling,
    choose_tiling,
    mirrors_of,
    probability_slabs,
    sliding_window,
    tile_starts,
)
from autoseg.inference.upsample import Upsampler
from autoseg.network.build import build
from autoseg.network.unet import UNet3D
from autoseg.plan import Intensity, Level, NetworkPlan, Plan

FOUR = NetworkPlan(stages=tuple(Level(features=(2, 2)) for _ in range(3)))  # divisor 4


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


def probabilities(ensemble: Ensemble, image: np.ndarray) -> np.ndarray:
    """Return the probabilities of a whole volume (classes, Z, Y, X)."""
    tiling = choose_tiling(image.shape[1:], ensemble.plan)
    return torch.cat(list(probability_slabs(ensemble, image, tiling)), dim=1).numpy()


def whole(image: np.ndarray) -> tuple[slice, slice, slice]:
    z, y, x = (slice(0, n) for n in image.shape[1:])
    return z, y, x


def painted(network: nn.Module, plan: Plan, image: np.ndarray, tiling: Tiling, box: Box) -> Upsampler:
    shape = image.shape[1:]
    return sliding_window(Ensemble([network], plan), image, box, tiling, lambda: Upsampler(plan.scheme, shape, shape))


def alone(network: nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(image)[None])[0].softmax(dim=0).numpy()


def test_regions_are_the_sums_of_their_parts_over_tiles_networks_and_mirrors() -> None:
    torch.manual_seed(0)
    own = made.plan(regions=((1, 2), (2,)), region_parts=True, labels=made.plan().labels[:2], tile_depth=8)
    networks = [build(own).eval() for _ in range(2)]
    ensembles = [Ensemble(networks, own, ((), (3,)), keeps_outputs=kept) for kept in (True, False)]
    tiling = Tiling(tile=(8, 8, 8), overlap=0.5)
    parts, regions = (torch.cat(list(probability_slabs(one, noise(16, 16, 16), tiling)), dim=1) for one in ensembles)
    assert (len(parts), len(regions)) == (3, 2)
    torch.testing.assert_close(parts.sum(dim=0), torch.ones(16, 16, 16))
    torch.testing.assert_close(regions, torch.stack((parts[1] + parts[2], parts[2])))


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


@settings(max_examples=25)
@given(st.tuples(*[st.integers(1, 13)] * 3), st.sampled_from([4, 8, 40]), st.floats(0, 0.9))
def test_a_network_that_looks_at_one_voxel_gives_the_same_in_tiles_and_whole(
    shape: tuple[int, int, int], depth: int, overlap: float
) -> None:
    network, image = Pointwise(0), noise(*shape)
    found = probabilities(Ensemble([network], plan(tile_depth=depth, tile_overlap=overlap)), image)
    assert found.shape == (3, *shape)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, alone(network, image), atol=1e-6)


def test_tiles_have_the_full_extent_in_plane_and_what_the_network_can_divide() -> None:
    network = Pointwise(0)
    probabilities(Ensemble([network], plan()), noise(10, 9, 7))
    assert set(network.seen) == {(4, 12, 8)}
    assert len(network.seen) == 5  # 12 padded slices at steps of 2


def test_outside_an_image_lies_air_half_on_each_side() -> None:
    class Spy(Pointwise):
        def forward(self, image: Tensor) -> Tensor:
            self.image = image
            return super().forward(image)

    network = Spy(0)
    probabilities(Ensemble([network], plan()), noise(4, 4, 1))
    assert (network.image[0, 0, :, :, [0, 2, 3]] == made.CT.pad_value).all()  # 3 more columns: 1 before, 2 after
    np.testing.assert_array_equal(network.image[0, 0, :, :, 1], noise(4, 4, 1)[0, :, :, 0])


def test_one_tile_of_a_real_network_is_that_network() -> None:
    torch.manual_seed(0)
    network = UNet3D(1, 3, FOUR).eval()
    image = noise(8, 8, 12)
    found = probabilities(Ensemble([network], plan(tile_depth=8)), image)
    np.testing.assert_allclose(found, alone(network, image), atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "end", "middle"),
    [("flat", 1, 1), ("gaussian", np.exp(-4.5), np.exp(-0.5))],  # 4 voxels, deviation 0.5: at 1.5 and 0.5 of the middle
)
def test_where_tiles_overlap_their_probabilities_are_averaged(weights: str, end: float, middle: float) -> None:
    torch.manual_seed(0)
    network = UNet3D(1, 3, FOUR).eval()
    image = noise(6, 4, 4)
    image = np.concatenate([image, noise(2, 4, 4)], axis=1)  # 8 slices, tiles at 0, 2, 4
    tiles = {start: alone(network, image[:, start : start + 4]) for start in (0, 2, 4)}
    found = probabilities(Ensemble([network], plan(tile_weights=weights)), image)
    shares = np.array([middle, end])[:, None, None] / (middle + end)  # of the tile before, in slices 2 and 3
    np.testing.assert_allclose(found[:, :2], tiles[0][:, :2], atol=1e-5)
    np.testing.assert_allclose(found[:, 2:4], tiles[0][:, 2:] * shares + tiles[2][:, :2] * (1 - shares), atol=1e-5)
    np.testing.assert_allclose(found[:, 6:], tiles[4][:, 2:], atol=1e-5)


def test_an_ensemble_is_the_mean_of_its_networks() -> None:
    networks, image = [Pointwise(seed) for seed in range(3)], noise(7, 5, 6)
    expected = np.mean([alone(network, image) for network in networks], axis=0)
    np.testing.assert_allclose(probabilities(Ensemble(networks, plan()), image), expected, atol=1e-6)


def test_probabilities_sum_to_one() -> None:
    network = UNet3D(1, 3, FOUR).eval()
    np.testing.assert_allclose(probabilities(Ensemble([network], plan()), noise(9, 5, 6)).sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("weights", ["flat", "gaussian"])
def test_tiles_of_less_height_and_width_give_the_same_where_the_network_looks_at_one_voxel(weights: str) -> None:
    network, image = Pointwise(0), noise(9, 20, 23)
    tiling = Tiling(tile=(4, 8, 12), overlap=0.5, weights=weights)
    slabs = list(probability_slabs(Ensemble([network], plan()), image, tiling))
    assert set(network.seen) == {(4, 8, 12)}
    np.testing.assert_allclose(torch.cat(slabs, dim=1).numpy(), alone(network, image), atol=1e-6)


def test_the_largest_tile_that_fits_is_chosen_first_down_to_the_crop_of_8() -> None:
    fits = [
        choose_tiling((100, 40, 50), plan(tile_depth=None), lambda tile, n=n: np.prod(tile) <= n).tile for n in LIMITS
    ]
    assert fits == [(100, 40, 52), (48, 40, 52), (8, 20, 24), (8, 8, 12), (4, 4, 4)]
    with pytest.raises(TooLittleMemoryError, match="too little memory for a tile"):
        choose_tiling((100, 40, 50), plan(tile_depth=None), lambda _: False)


LIMITS = (100 * 40 * 52, 50 * 40 * 52, 4 * 40 * 52, 4 * 20 * 25, 64)


def test_a_tile_that_does_not_fit_after_all_is_halved(caplog: pytest.LogCaptureFixture) -> None:
    class Small(Pointwise):
        def forward(self, image: Tensor) -> Tensor:
            if image.shape[2] > 8:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(image)

    network, image = Small(0), noise(32, 8, 8)
    upsampler = painted(network, plan(tile_depth=None), image, Tiling(tile=(32, 8, 8), overlap=0.5), whole(image))
    np.testing.assert_array_equal(upsampler.coarse, alone(Pointwise(0), image).argmax(axis=0))
    assert "did not fit the memory; next: (8, 8, 8)" in caplog.text


def test_any_other_error_of_the_network_passes() -> None:
    class Broken(Pointwise):
        def forward(self, image: Tensor) -> Tensor:
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        painted(Broken(0), plan(), noise(8, 8, 8), Tiling(tile=(4, 8, 8), overlap=0.5), whole(noise(8, 8, 8)))


def test_mirrored_images_are_seen_and_their_answers_turned_back() -> None:
    class Slope(nn.Module):  # tells the column's number, so that a mirrored image gets another answer
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, image: Tensor) -> Tensor:
            column = torch.arange(image.shape[-1]).float().expand(image.shape)
            return torch.cat((column * image, -column * image, image * 0), dim=1)

    mirrored = plan(augmentation=made.STILL.model_copy(update={"mirrored": ("x",)}))
    network, image = Slope(), noise(4, 4, 8)
    assert mirrors_of(mirrored) == ((), (3,))
    assert mirrors_of(plan()) == ((),)
    found = torch.cat(list(probability_slabs(Ensemble([network], mirrored, mirrors_of(mirrored)), image, TILE)), dim=1)
    both = alone(network, image) + alone(network, np.ascontiguousarray(image[..., ::-1]))[..., ::-1]
    np.testing.assert_allclose(found.numpy(), both / 2, atol=1e-6)


TILE = Tiling(tile=(4, 4, 8), overlap=0.5)


def test_only_the_box_goes_through_the_network_and_around_it_is_background() -> None:
    network, image = Pointwise(0), noise(20, 16, 12)
    box = (slice(4, 12), slice(0, 8), slice(5, 12))
    upsampler = painted(network, plan(), image, Tiling(tile=(4, 8, 8), overlap=0.5), box)
    expected = np.zeros((20, 16, 12), np.uint8)
    expected[box] = alone(Pointwise(0), image)[:, *box].argmax(axis=0)
    np.testing.assert_array_equal(upsampler.coarse, expected)
    np.testing.assert_array_equal(upsampler.mask, expected)
    assert set(network.seen) == {(4, 8, 8)}


def test_the_body_of_a_ct_is_found_with_a_margin() -> None:
    image = np.full((1, 40, 50, 60), made.CT.pad_value, np.float32)
    assert foreground_box(image, plan()) == whole(image)
    image[0, 20, 5:30, 30:59] = 0.0
    assert foreground_box(image, plan()) == (slice(12, 29), slice(0, 38), slice(22, 60))
    mr = Intensity(kind="per-image", low=0.5, high=99.5)
    assert foreground_box(image, plan(intensity=(mr,))) == whole(image)
