"""Tests of autoseg.planning.planner: a grid is measured once, when a plan may take it, and counts every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import made
import pytest

from autoseg.dataset.load import Dataset
from autoseg.imaging.grid import Triple
from autoseg.planning import planner
from autoseg.planning.budget import Budget
from autoseg.planning.fit import apply_settings
from autoseg.planning.planner import MEASURED_FINER, Planner
from autoseg.pool import untracked

FINGERPRINT = made.fingerprint((96, 96, 96), (1.0, 1.0, 1.0), cases=100)
FAST = Budget(device="cpu", memory_gib=20.0, bfloat16=True)
SLOW = Budget(device="cpu", memory_gib=20.0, bfloat16=True, cpu_step_voxels=100_000)


def make_planner() -> Planner:
    dataset = Dataset(name="data", root=Path(), channels=("CT",), labels=(), cases=())
    return Planner(fingerprint=FINGERPRINT, seed=0, dataset=dataset, crew=1, track=untracked)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[float]]:
    """Replace measuring: the organ keeps 1 - loss x spacing; return the spacings that were measured."""

    def with_loss(loss: float) -> list[float]:
        measured_mm: list[float] = []

        def dataset_ceilings(_: Any, __: Any, spacings: Sequence[Triple], *___: Any) -> list[tuple[float, ...]]:
            measured_mm.extend(spacing[0] for spacing in spacings)
            return [tuple(1 - loss * spacing[0] for spacing in spacings)]

        monkeypatch.setattr(planner, "dataset_ceilings", dataset_ceilings)
        return measured_mm

    return with_loss


def test_each_grid_is_measured_once_however_often_plans_are_derived(measured: Callable[[float], list[float]]) -> None:
    spacings, planning = measured(0.0), make_planner()
    fast, slow = planning.derive(FAST), planning.derive(SLOW)
    assert slow.plan.downsampling[0] > fast.plan.downsampling[0]
    assert planning.derive(SLOW) == slow
    assert len(spacings) == len(set(spacings)) == len(planning.ceilings)
    assert {slow.plan.spacing_mm, fast.plan.spacing_mm} <= set(planning.ceilings)
    assert len([s for s in planning.ceilings if s[0] < slow.plan.downsampling[0]]) >= MEASURED_FINER


def test_a_plan_derived_again_for_smaller_steps_heeds_what_its_own_grid_costs(
    measured: Callable[[float], list[float]],
) -> None:
    measured(0.0)
    usual = make_planner().derive(SLOW).plan.downsampling[0]
    measured(0.2 / usual)  # the usual grid leaves 0.8 of the organ's Dice
    planning = make_planner()
    planning.derive(FAST)
    again = planning.derive(SLOW)
    assert again.plan.downsampling[0] < usual
    assert again.finer_for == ("liver",)


def test_a_grid_that_the_user_sets_is_measured_though_another_has_its_factor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured_mm: list[Triple] = []

    def dataset_ceilings(_: Any, __: Any, spacings: Sequence[Triple], *___: Any) -> list[tuple[float, ...]]:
        measured_mm.extend(spacings)
        return [tuple(1 - 0.1 * spacing[0] for spacing in spacings)]

    monkeypatch.setattr(planner, "dataset_ceilings", dataset_ceilings)
    flat = made.fingerprint((32, 96, 96), (3.0, 1.0, 1.0), cases=100)
    flat_planner = replace(make_planner(), fingerprint=flat)
    derived = flat_planner.derive(FAST)
    assert (3.0, 1.0, 1.0) in measured_mm
    decision = apply_settings(derived, flat, FAST, {"spacing_mm": "[1,1,1]"})
    flat_planner.measure_grids(decision)
    assert decision.chosen is not None
    assert measured_mm[-1] == (1.0, 1.0, 1.0)
    assert decision.chosen.factor == 1.0  # as that of 3 x 1 x 1 mm
    assert flat_planner.ceilings[(1.0, 1.0, 1.0)] == (0.9,)
