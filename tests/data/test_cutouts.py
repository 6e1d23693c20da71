"""Tests of autoseg.data.cutouts: crops made of cut-outs and draws are those that workers make."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import made
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.data.augment import coordinates, seeded, transforms
from autoseg.data.batches import open_batches
from autoseg.data.cutouts import CutOut, crops_of, slot_bytes
from autoseg.data.cutting import CropRequest, cut
from autoseg.data.intensity import INTENSITY_CHANGES
from autoseg.data.slots import Slots
from autoseg.errors import PlanError
from autoseg.plan import AugmentationPlan, Plan
from autoseg.settings import with_settings

SHAPE, SIZE, SPACING = (14, 15, 16), (8, 10, 6), (3.0, 1.0, 0.8)
SPATIAL = {
    "rotation": {"rotation_deg": 20},
    "any rotation": {"rotation_deg": 180},
    "translation": {"translation_voxels": 5},
    "scaling": {"scaling": 0.3},
    "B-spline": {"bspline_voxels": 2, "bspline_spacing_voxels": 4},
}
INTENSITY = {"contrast": 0.3, "brightness": 0.5, "gamma": 0.4, "noise": 0.2}
ALL = {key: value for some in (*SPATIAL.values(), INTENSITY) for key, value in some.items()} | {"mirrored": ("z", "x")}
CHANGES: dict[str, dict[str, Any]] = SPATIAL | {name: {name: value} for name, value in INTENSITY.items()} | {"all": ALL}


def plan_with(changes: dict[str, Any], **others: Any) -> Plan:
    still = {"rotation_deg": 0, "translation_voxels": 0, "bspline_voxels": 0}
    augmentation = AugmentationPlan(**(still | {"on": "device"} | changes))
    return made.plan(crop_size=SIZE, channels=("CT", "PET"), augmentation=augmentation, **others)


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> list[CropRequest]:
    """Return crops in the middle, at an edge, in a corner, and one that is not deformed."""
    rng = np.random.default_rng(0)
    image, label = rng.normal(size=(2, *SHAPE)), rng.integers(0, 3, SHAPE)
    case = made.cached_case(tmp_path_factory.mktemp("cache"), "a", image, label, SPACING)
    centres = ((7.2, 6.9, 8.3), (3.5, 4.5, 2.5), (0.1, 14.0, 15.2))
    deformed = [CropRequest(case=case, centre=centre) for centre in centres]
    return [*deformed, CropRequest(case=case, centre=centres[1], deformed=False)]


def is_clear(request: CropRequest, plan: Plan, seed: int) -> np.ndarray:
    """Return where no voxel is so near the border between two that rounding may decide to which one it belongs."""
    with seeded(seed):
        points = coordinates(SIZE, SPACING, plan.augmentation).numpy() + request.centre
    return (np.abs(points - np.floor(points) - 0.5) > 1e-3).all(axis=-1)


@pytest.mark.parametrize("name", CHANGES)
def test_crops_made_of_cut_outs_are_those_that_workers_make(name: str, requests: list[CropRequest]) -> None:
    plan, seeds = plan_with(CHANGES[name]), [*range(7, 7 + len(requests))]
    expected = transforms(plan)(requests=requests, seeds=seeds)
    found = crops_of(CutOut(plan)(requests=requests, seeds=seeds), plan, "cpu")
    assert (found["data"].dtype, found["seg"].dtype) == (torch.float32, torch.uint8)
    assert (found["keys"], found["hidden"]) == (expected["keys"], expected["hidden"])
    np.testing.assert_allclose(found["data"], expected["data"], atol=2e-4, rtol=1e-5)
    for n, (request, seed) in enumerate(zip(requests, seeds, strict=True)):
        same = (found["seg"].numpy() == expected["seg"])[n, 0]
        clear = is_clear(request, plan, seed) if request.deformed and plan.augmentation.is_spatial else same | True
        assert same[clear].all()
        assert clear.mean() > 0.98


def test_every_change_of_intensities_is_tried_here() -> None:
    assert len(INTENSITY_CHANGES) == len(INTENSITY)
    plan = plan_with(INTENSITY).augmentation
    assert sorted(change.amount(plan) for change in INTENSITY_CHANGES) == sorted(INTENSITY.values())


@pytest.mark.parametrize("how", [{"rotation_deg": 5.0}, {"translation_voxels": 1.0, "deformed_share": 0.5}, {}])
def test_mirrored_crops_are_those_that_workers_make_but_on_the_border_between_two_voxels(
    requests: list[CropRequest], how: dict[str, Any]
) -> None:
    plan = plan_with({"mirrored": ("y",), **how})
    off = [CropRequest(case=r.case, centre=tuple(c + 0.2 for c in r.centre), deformed=True) for r in requests]  # type: ignore[arg-type]
    for seed in range(4):
        expected = transforms(plan)(requests=off, seeds=[seed] * len(off))
        found = crops_of(CutOut(plan)(requests=off, seeds=[seed] * len(off)), plan, "cpu")
        np.testing.assert_allclose(found["data"], expected["data"], atol=2e-4)
        np.testing.assert_array_equal(found["seg"], expected["seg"])


@pytest.mark.parametrize("shape", [(14, 15, 16), (5, 10, 4), (8, 6, 20)])
def test_a_crop_that_is_not_deformed_is_cut_out_to_the_bit_where_the_volume_is_smaller_too(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    turned = AugmentationPlan(on="device", rotation_deg=9, translation_voxels=1, bspline_voxels=0)
    plan = made.plan(crop_size=SIZE, augmentation=turned)
    case = made.random_case(tmp_path, shape)
    request = CropRequest(case=case, centre=tuple((n - 1) / 2 for n in shape), deformed=False)  # type: ignore[arg-type]
    image, label = cut(request, SIZE, (-4.0,))
    found = crops_of(CutOut(plan)(requests=[request], seeds=[1]), plan, "cpu")
    np.testing.assert_array_equal(found["data"][0], image)
    np.testing.assert_array_equal(found["seg"][0], label)


def test_cutting_out_leaves_the_global_generators_alone_and_is_decided_by_the_seed(requests: list[CropRequest]) -> None:
    plan = plan_with(ALL)
    np.random.seed(1)
    random.seed(1)
    expected = np.random.random(), random.random()
    np.random.seed(1)
    random.seed(1)
    first, again, other = (CutOut(plan)(requests=requests[:1], seeds=[seed]) for seed in (7, 7, 8))
    assert (np.random.random(), random.random()) == expected
    np.testing.assert_array_equal(first["values.0.3"], again["values.0.3"])
    assert not np.array_equal(first["values.0.3"], other["values.0.3"])


@settings(max_examples=60)
@given(
    st.floats(0, 180), st.floats(0, 0.9), st.floats(0, 4), st.tuples(*[st.floats(0.5, 6)] * 3),
    st.tuples(*[st.floats(0, 1)] * 3), st.integers(0, 99),
)  # fmt: skip
def test_a_cut_out_always_fits_its_slot(
    tmp_path_factory: pytest.TempPathFactory, rotation: float, scaling: float, moved: float,
    spacing: tuple[float, float, float], centre: tuple[float, float, float], seed: int,
) -> None:  # fmt: skip
    case = made.random_case(tmp_path_factory.mktemp("cache"), (30, 30, 30), spacing_mm=spacing)
    augmentation = AugmentationPlan(
        on="device", rotation_deg=rotation, scaling=scaling, bspline_voxels=moved, translation_voxels=moved, noise=0.1,
        contrast=0.1, bspline_spacing_voxels=4,
    )  # fmt: skip
    plan = made.plan(crop_size=(6, 8, 4), augmentation=augmentation)
    request = CropRequest(case=case, centre=tuple(29 * c for c in centre))  # type: ignore[arg-type]
    batch = CutOut(plan)(requests=[request] * 2, seeds=[seed, seed + 1])
    arrays = {name: value for name, value in batch.items() if isinstance(value, np.ndarray)}
    assert Slots(1, 1, slot_bytes(plan, 2, [case])).store(0, arrays) is not None


def test_batches_of_a_device_do_not_depend_on_the_workers_and_are_those_of_workers(tmp_path: Path) -> None:
    cases = made.easy_cases(tmp_path, 3, (14, 15, 16))
    changes = {name: value for name, value in ALL.items() if name != "mirrored"}
    plan = made.plan(crop_size=SIZE, augmentation=AugmentationPlan(on="device", **changes))
    batches = []
    for workers, settings_of in ((0, plan), (1, plan), (0, with_settings(plan, {"augmentation.on": "workers"}))):
        with open_batches(cases, settings_of, 0, workers) as stream:
            batches.append([next(stream) for _ in range(3)])
    for here, there, by_workers in zip(*batches, strict=True):
        assert torch.equal(here["data"], there["data"])
        assert torch.equal(here["seg"], there["seg"])
        assert here["keys"] == there["keys"] == by_workers["keys"]
        np.testing.assert_allclose(here["data"], by_workers["data"], atol=1e-3)
        assert (here["seg"].numpy() == by_workers["seg"]).mean() > 0.99


def test_a_plan_that_augments_elsewhere_is_refused_with_what_there_is() -> None:
    with pytest.raises(PlanError, match=r"augmentation\.on: input should be 'workers' or 'device', got 'gpu'"):
        with_settings(made.plan(), {"augmentation.on": "gpu"})
