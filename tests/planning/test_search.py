"""Tests of autoseg.planning.search: grids are measured when they come into question, once, and count every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import made
import pytest

from autoseg.dataset.load import Dataset
from autoseg.imaging.grid import Triple
from autoseg.planning import search
from autoseg.planning.budget import Budget
from autoseg.planning.fit import apply_settings
from autoseg.planning.search import FINER_SHOWN, PlanSearch
from autoseg.pool import untracked

FOUND = made.fingerprint((96, 96, 96), (1.0, 1.0, 1.0), cases=100)
FAST = Budget(device="cpu", memory_gib=20.0, bfloat16=True)
SLOW = Budget(device="cpu", memory_gib=20.0, bfloat16=True, cpu_step_voxels=100_000)


def derivation() -> PlanSearch:
    dataset = Dataset(name="data", root=Path(), channels=("CT",), labels=(), cases=())
    return PlanSearch(fingerprint=FOUND, seed=0, dataset=dataset, jobs=1, track=untracked)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[float]]:
    """Replace measuring: the organ keeps 1 - loss x spacing; return the spacings that were measured."""

    def with_loss(loss: float) -> list[float]:
        seen: list[float] = []

        def dataset_ceilings(_: Any, __: Any, spacings: Sequence[Triple], *___: Any) -> list[tuple[float, ...]]:
            seen.extend(spacing[0] for spacing in spacings)
            return [tuple(1 - loss * spacing[0] for spacing in spacings)]

        monkeypatch.setattr(search, "dataset_ceilings", dataset_ceilings)
        return seen

    return with_loss


def test_each_grid_is_measured_once_however_often_plans_are_derived(measured: Callable[[float], list[float]]) -> None:
    seen, derive = measured(0.0), derivation()
    fast, slow = derive(FAST), derive(SLOW)
    assert slow.plan.downsampling[0] > fast.plan.downsampling[0]
    assert derive(SLOW) == slow
    assert len(seen) == len(set(seen)) == len(derive.ceilings)
    assert {slow.plan.spacing_mm, fast.plan.spacing_mm} <= set(derive.ceilings)
    assert len([s for s in derive.ceilings if s[0] < slow.plan.downsampling[0]]) >= FINER_SHOWN


def test_a_plan_derived_again_for_smaller_steps_heeds_what_its_own_grid_costs(
    measured: Callable[[float], list[float]],
) -> None:
    measured(0.0)
    usual = derivation()(SLOW).plan.downsampling[0]
    measured(0.2 / usual)  # the usual grid leaves 0.8 of the organ's Dice
    derive = derivation()
    derive(FAST)
    again = derive(SLOW)
    assert again.plan.downsampling[0] < usual
    assert again.finer_for == ("liver",)


def test_a_grid_that_the_user_sets_is_measured_though_another_has_its_factor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Triple] = []

    def dataset_ceilings(_: Any, __: Any, spacings: Sequence[Triple], *___: Any) -> list[tuple[float, ...]]:
        seen.extend(spacings)
        return [tuple(1 - 0.1 * spacing[0] for spacing in spacings)]

    monkeypatch.setattr(search, "dataset_ceilings", dataset_ceilings)
    flat = made.fingerprint((32, 96, 96), (3.0, 1.0, 1.0), cases=100)
    derive = replace(derivation(), fingerprint=flat)
    made_so = derive(FAST)
    assert (3.0, 1.0, 1.0) in seen
    decision = apply_settings(made_so, flat, FAST, {"spacing_mm": "[1,1,1]"})
    derive.measure_grids(decision)
    assert decision.chosen is not None
    assert seen[-1] == (1.0, 1.0, 1.0)
    assert decision.chosen.factor == 1.0  # as that of 3 x 1 x 1 mm
    assert derive.ceilings[(1.0, 1.0, 1.0)] == (0.9,)
