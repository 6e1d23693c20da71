"""Tests of autoseg.data.augment."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import made
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.data import augment
from autoseg.data.augment import coordinates, transforms
from autoseg.data.cutting import CropRequest, cut, first_voxels, sample
from autoseg.plan import AugmentationPlan

PAD = (-4.0,)
SHAPE = (9, 10, 11)
EVERYTHING = AugmentationPlan(
    rotation_deg=20,
    translation_voxels=3,
    scaling=0.2,
    bspline_spacing_voxels=4,
    bspline_voxels=2,
    brightness=0.1,
    contrast=0.2,
    noise=0.1,
)


def changes(**some: float) -> AugmentationPlan:
    return AugmentationPlan(**({"rotation_deg": 0, "translation_voxels": 0, "bspline_voxels": 0} | some))


def draw(monkeypatch: pytest.MonkeyPatch, value: Callable[[float, float, object], object]) -> None:
    """Let numpy's global uniform(low, high, size) return what `value` says."""
    monkeypatch.setattr(
        augment.np.random, "uniform", lambda low, high, size=None: np.broadcast_to(value(low, high, size), size or ())
    )


def field(size: tuple[int, int, int], what: AugmentationPlan) -> torch.Tensor:
    """Return the displacements that drawn control points give each voxel of a crop."""
    control = torch.from_numpy(np.array(augment._control_points(size, what)))
    return augment._bspline_field(size, what.bspline_spacing_voxels, control)


def crop(request: CropRequest, size: tuple[int, int, int], what: AugmentationPlan) -> tuple[np.ndarray, np.ndarray]:
    image, label = sample(request, coordinates(size, request.case.working.spacing_mm, what), PAD)
    return image[0], label[0]


@pytest.fixture
def request_at_the_middle(tmp_path: Path) -> CropRequest:
    case = made.random_case(tmp_path, SHAPE)
    return CropRequest(case=case, centre=(4.0, 4.5, 5.0))


@pytest.mark.parametrize(("size", "first"), [((3, 4, 5), (3, 3, 3)), ((9, 10, 11), (0, 0, 0)), ((1, 2, 1), (4, 4, 5))])
def test_no_augmentation_is_exactly_the_voxels_of_the_volume(
    request_at_the_middle: CropRequest, size: tuple[int, int, int], first: tuple[int, int, int]
) -> None:
    image, label = crop(request_at_the_middle, size, changes())
    box = tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))
    np.testing.assert_allclose(image, request_at_the_middle.case.image()[0][box], atol=1e-4)
    np.testing.assert_array_equal(label, request_at_the_middle.case.label()[box])


@pytest.mark.parametrize("size", [(3, 4, 5), (9, 10, 11), (12, 11, 15), (4, 3, 2)])
def test_a_cut_holds_the_volume_s_own_voxels_and_padding(
    request_at_the_middle: CropRequest, size: tuple[int, int, int]
) -> None:
    image, label = cut(request_at_the_middle, size, PAD)
    case = request_at_the_middle.case
    wide = [(n, n) for n in size]
    framed = np.pad(case.image()[0].astype(np.float32), wide, constant_values=PAD[0])
    # of two crops that lie half a voxel away, the one nearer to the end of the volume may be taken
    first = [f + n for f, n in zip(first_voxels(request_at_the_middle, size), size, strict=True)]
    off = [f - n + n / 2 - 0.5 - c for f, n, c in zip(first, size, request_at_the_middle.centre, strict=True)]
    assert np.abs(off).max() <= 0.5
    box = tuple(slice(f, f + n) for f, n in zip(first, size, strict=True))
    assert image[0].tolist() == framed[box].tolist()
    assert label[0].tolist() == np.pad(case.label(), wide)[box].tolist()


def test_a_cut_is_what_sampling_without_a_change_gives(request_at_the_middle: CropRequest) -> None:
    image, label = crop(request_at_the_middle, (3, 4, 5), changes())
    plain, plain_label = cut(request_at_the_middle, (3, 4, 5), PAD)
    assert plain[0] == pytest.approx(image, abs=1e-5)
    assert plain_label[0].tolist() == label.tolist()


def test_requests_that_are_not_deformed_keep_their_shape_but_not_their_intensity(tmp_path: Path) -> None:
    plan = made.plan(crop_size=(4, 8, 6), augmentation=EVERYTHING)
    case = made.random_case(tmp_path, SHAPE)
    plain = CropRequest(case=case, centre=(4.0, 4.5, 5.0), deformed=False)
    found = transforms(plan)(requests=[plain, plain], seeds=[1, 2])
    label = cut(plain, (4, 8, 6), PAD)[1]
    assert all(one.tolist() == label.tolist() for one in found["seg"])
    assert not np.allclose(found["data"][0], found["data"][1])


def test_a_translation_by_whole_voxels_shifts_the_crop_and_pads_what_lies_outside(
    request_at_the_middle: CropRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(monkeypatch, lambda low, high, _: np.array([2.0, -3.0, 6.0]) if high == 7 else (low + high) / 2)
    image, label = crop(request_at_the_middle, (9, 10, 11), changes(translation_voxels=7))
    case = request_at_the_middle.case
    expected, classes = np.full(SHAPE, PAD[0]), np.zeros(SHAPE)
    expected[:7, 3:, :5], classes[:7, 3:, :5] = case.image()[0, 2:, :7, 6:], case.label()[2:, :7, 6:]
    np.testing.assert_allclose(image, expected, atol=1e-4)
    np.testing.assert_array_equal(label, classes)


def test_a_crop_far_outside_is_all_padding(tmp_path: Path) -> None:
    request = CropRequest(case=made.random_case(tmp_path, SHAPE), centre=(50.0, -50.0, 4.0))
    image, label = crop(request, (4, 4, 4), changes())
    np.testing.assert_allclose(image, PAD[0])
    assert (label == 0).all()


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
def test_a_rotation_by_90_degrees_is_rot90_of_image_and_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axis: int, plane: tuple[int, int]
) -> None:
    case = made.random_case(tmp_path, (7, 7, 7))
    draw(monkeypatch, lambda low, high, _: 90.0 * np.eye(3)[axis] if high == 90 else (low + high) / 2)
    image, label = crop(CropRequest(case=case, centre=(3.0, 3.0, 3.0)), (7, 7, 7), changes(rotation_deg=90))
    turns = [k for k in (1, 3) if np.array_equal(label, np.rot90(case.label(), k, plane))]
    assert len(turns) == 1
    np.testing.assert_allclose(image, np.rot90(case.image()[0], turns[0], plane), atol=1e-4)


def test_rotation_is_by_true_millimetres_where_voxels_are_not_cubes(monkeypatch: pytest.MonkeyPatch) -> None:
    draw(monkeypatch, lambda low, high, _: 90.0 * np.eye(3)[1] if high == 90 else (low + high) / 2)
    found = coordinates((1, 1, 9), (4.0, 1.0, 1.0), changes(rotation_deg=90))[0, 0].numpy()
    across = np.arange(-4, 5)  # x in mm, which becomes z: 4 mm are one slice
    np.testing.assert_allclose(np.abs(found[:, 0]), np.abs(across) / 4, atol=1e-6)
    np.testing.assert_allclose(found[:, 1:], 0, atol=1e-6)


@pytest.mark.parametrize("flat", [0, 2])
def test_nothing_leaves_its_slice_along_a_flat_axis(flat: int) -> None:
    np.random.seed(3)
    size = (1, 9, 12) if flat == 0 else (12, 9, 1)
    what = changes(rotation_deg=30, translation_voxels=5, scaling=0.2, bspline_voxels=3, bspline_spacing_voxels=8)
    found = coordinates(size, (1.0, 1.0, 1.0), what, flat).numpy()
    assert np.abs(found[..., flat]).max() == 0
    assert np.abs(found[..., 1]).max() > 4  # within the slice everything moves


@settings(max_examples=30)
@given(st.tuples(*[st.floats(0.5, 5)] * 3), st.integers(0, 1000))
def test_a_rotation_keeps_every_distance_in_millimetres(spacing: tuple[float, float, float], seed: int) -> None:
    np.random.seed(seed)
    found = coordinates((5, 4, 6), spacing, changes(rotation_deg=180)).numpy() * spacing
    still = coordinates((5, 4, 6), spacing, changes()).numpy() * spacing
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), np.linalg.norm(still, axis=-1), rtol=1e-4)


@given(st.integers(1, 80), st.floats(2, 40))
def test_the_basis_of_each_voxel_is_not_negative_and_sums_to_one(size: int, spacing: float) -> None:
    basis = augment._bspline_basis(size, spacing).numpy()
    assert basis.min() >= 0
    np.testing.assert_allclose(basis.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(basis, basis[::-1, ::-1], atol=1e-4)  # centred on the crop


def test_equal_control_points_are_a_pure_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    draw(monkeypatch, lambda low, high, _: high)
    moved = field((6, 7, 8), changes(bspline_voxels=3, bspline_spacing_voxels=4))
    torch.testing.assert_close(moved, torch.full((6, 7, 8, 3), 3.0))


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_no_voxel_moves_farther_than_the_control_points_may(seed: int) -> None:
    np.random.seed(seed)
    moved = field((16, 9, 12), changes(bspline_voxels=4, bspline_spacing_voxels=5))
    assert moved.abs().max() <= 4.0
    assert moved.std() > 0.1
    assert moved.diff(dim=0).abs().max() < 4.0  # smooth: neighbours move alike


def test_control_points_move_each_axis_by_its_own_component(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_axis(_: float, __: float, size: object) -> object:
        return np.arange(3.0).reshape(3, 1, 1, 1)

    draw(monkeypatch, by_axis)
    moved = field((4, 5, 6), changes(bspline_voxels=3))
    torch.testing.assert_close(moved, torch.tensor([0.0, 1.0, 2.0]).expand(4, 5, 6, 3))


@pytest.mark.parametrize("seed", range(5))
def test_image_and_label_move_together_and_no_class_is_invented(tmp_path: Path, seed: int) -> None:
    _, label = made.two_blocks((16, 16, 16))
    label = 3 * label  # 0, 3, 6
    case = made.cached_case(tmp_path, "a", label[None].astype(np.float32), label)
    what = changes(rotation_deg=20, translation_voxels=2, scaling=0.1, bspline_voxels=2, bspline_spacing_voxels=8)
    np.random.seed(seed)
    image, found = sample(
        CropRequest(case=case, centre=(7.5, 7.5, 7.5)), coordinates((16, 16, 16), (1, 1, 1), what), (0.0,)
    )
    assert set(np.unique(found)) == {0, 3, 6}
    inside = np.isin(image.round(4), (0, 3, 6))  # away from the borders of the blocks
    assert inside.mean() > 0.5
    np.testing.assert_array_equal(image.round(4)[inside & (image > 0)], found[inside & (image > 0)])


def test_a_batch_is_decided_by_its_seed_and_leaves_the_global_generators_alone(tmp_path: Path) -> None:
    requests = [CropRequest(case=made.random_case(tmp_path, SHAPE), centre=(4.0, 4.0, 4.0))] * 2
    transform = transforms(made.plan(augmentation=EVERYTHING))
    np.random.seed(1)
    random.seed(1)
    expected = np.random.random(), random.random()
    np.random.seed(1)
    random.seed(1)
    first = transform(requests=requests, seeds=[7, 8])
    assert (np.random.random(), random.random()) == expected
    again, other = (transform(requests=requests, seeds=seeds) for seeds in ([7, 8], [8, 9]))
    np.testing.assert_array_equal(first["data"], again["data"])
    np.testing.assert_array_equal(first["seg"], again["seg"])
    assert not np.array_equal(first["data"], other["data"])


def test_a_batch_has_the_shapes_and_kinds_that_training_expects(tmp_path: Path) -> None:
    case = made.random_case(tmp_path, SHAPE)
    plan = made.plan(augmentation=EVERYTHING, crop_size=(4, 8, 6))
    batch = transforms(plan)(requests=[CropRequest(case=case, centre=(4.0, 4.0, 4.0))] * 3, seeds=[0, 1, 2])
    assert (batch["data"].shape, batch["data"].dtype) == ((3, 1, 4, 8, 6), np.float32)
    assert (batch["seg"].shape, batch["seg"].dtype) == ((3, 1, 4, 8, 6), np.uint8)
    assert batch["keys"] == ["random"] * 3


@pytest.mark.parametrize("what", ["brightness", "contrast", "gamma", "noise"])
def test_intensity_changes_leave_the_labels_alone(tmp_path: Path, what: str) -> None:
    requests = [CropRequest(case=made.random_case(tmp_path, SHAPE), centre=(4.0, 4.0, 4.0))]
    plain = transforms(made.plan())(requests=requests, seeds=[3])
    changed = transforms(made.plan(augmentation=changes(**{what: 0.5})))(requests=requests, seeds=[3])
    np.testing.assert_array_equal(changed["seg"], plain["seg"])
    assert not np.allclose(changed["data"], plain["data"], atol=1e-3)


def test_gamma_bends_the_values_between_the_ends_of_the_crop_and_keeps_mean_and_deviation(tmp_path: Path) -> None:
    requests = [CropRequest(case=made.random_case(tmp_path, SHAPE), centre=(4.0, 4.0, 4.0))] * 6
    bend = transforms(made.plan(augmentation=changes(gamma=0.5)))
    plain = transforms(made.plan())(requests=requests, seeds=[*range(6)])["data"]
    bent = bend(requests=requests, seeds=[*range(6)])["data"]
    exponents = []
    for before, after in zip(plain[:, 0].astype(float), bent[:, 0].astype(float), strict=True):
        assert (after.mean(), after.std()) == pytest.approx((before.mean(), before.std()), abs=1e-4)
        share = (before - before.min()) / np.ptp(before)  # of the way from the least value to the greatest
        inside = (share > 0.05) & (share < 0.95)
        exponent = np.log(((after - after.min()) / np.ptp(after))[inside]) / np.log(share[inside])
        assert exponent == pytest.approx(exponent.mean(), abs=1e-3)
        exponents.append(exponent.mean())
    assert 0.5 <= min(exponents) < 1 < max(exponents) <= 1.5
    alone = bend(requests=requests[:1], seeds=[3])["data"]
    np.testing.assert_array_equal(alone[0], bent[3])  # a crop is decided by its own seed


def test_crops_are_mirrored_half_of_the_time_about_their_middle(request_at_the_middle: CropRequest) -> None:
    size, seen = (5, 4, 3), 0
    plain_image, plain_label = crop(request_at_the_middle, size, changes())
    mirrored = AugmentationPlan(rotation_deg=0, translation_voxels=0, bspline_voxels=0, mirrored=("x",))
    np.random.seed(0)
    for _ in range(40):
        image, label = crop(request_at_the_middle, size, mirrored)
        is_mirrored = np.allclose(image, plain_image[..., ::-1], atol=1e-6)
        assert is_mirrored or np.allclose(image, plain_image, atol=1e-6)
        np.testing.assert_array_equal(label, plain_label[..., ::-1] if is_mirrored else plain_label)
        seen += is_mirrored
    assert 10 <= seen <= 30


@pytest.mark.parametrize("deformed", [False, True])
def test_a_crop_is_mirrored_as_often_whether_it_is_deformed_or_not(
    request_at_the_middle: CropRequest, deformed: bool
) -> None:
    turned = changes(rotation_deg=2, mirrored=("x",), deformed_share=0.5)  # type: ignore[arg-type]
    plan = made.plan(crop_size=(4, 4, 4), augmentation=turned)
    request = replace(request_at_the_middle, deformed=deformed)
    plain, _ = cut(request, plan.crop_size, PAD)
    crops = [transforms(plan)(requests=[request], seeds=[seed])["data"][0] for seed in range(40)]
    near = [np.abs(crop[..., ::-1] - plain).mean() < np.abs(crop - plain).mean() for crop in crops]
    assert 10 <= sum(near) <= 30


@pytest.mark.parametrize(("whole", "crop"), [(4, 1), (10, 8), (11, 8), (9, 8), (8, 8), (5, 8)])
def test_every_crop_of_a_volume_is_cut_out_as_often(tmp_path: Path, whole: int, crop: int) -> None:
    case = made.random_case(tmp_path, (whole, 4, 4))
    centres = np.linspace(crop / 2 - 0.5, whole - crop / 2 - 0.5, 6001) if whole > crop else [(whole - 1) / 2]
    first = [first_voxels(CropRequest(case=case, centre=(c, 1.5, 1.5)), (crop, 4, 4))[0] for c in centres]
    expected = range(whole - crop + 1) if whole > crop else [int(np.ceil((whole - 1) / 2 - crop / 2))]
    found, counts = np.unique(first, return_counts=True)
    assert found.tolist() == list(expected)
    assert np.ptp(counts) <= 2
