"""Tests of the counted memory against what is alive on a GPU that is not there, while it trains and predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cuda import work
from cuda.plans import PLANS as PLANS_OF_STEPS
from cuda.plans import plan_with

from autoseg.inference.tiles import Tiling
from autoseg.network.memory import tile_bytes, training_bytes
from autoseg.plan import Plan

CLOSE = 0.05
PLANS = {
    **{f"{norm} norm": plan_with(norm) for norm in ("batch", "instance", "group")},
    "regions": PLANS_OF_STEPS["regions, unsure voxels"],
    "float32": plan_with(precision="float32"),
    "residual, group norm, float32": plan_with("group", "residual", precision="float32"),
}
Call = Callable[..., Any]


def on_gpu(plan: Plan) -> tuple[Plan, bool]:
    return plan.model_copy(update={"device": "cuda"}), plan.precision == "bfloat16"


@pytest.mark.parametrize("name", PLANS)
def test_the_counted_memory_of_a_step_is_its_peak(on_cuda: Call, name: str) -> None:
    counted = training_bytes(*on_gpu(PLANS[name]))
    assert counted == pytest.approx(on_cuda(work.step, PLANS[name]).peak, rel=CLOSE)


@pytest.mark.parametrize("name", PLANS)
def test_the_counted_memory_of_a_tile_is_its_peak(on_cuda: Call, name: str) -> None:
    plan, bfloat16 = on_gpu(PLANS[name])
    peak = on_cuda(work.tiles, plan, Tiling(tile=(32, 32, 32), overlap=0.5), (32, 32, 32)).peak
    assert tile_bytes(plan, (32, 32, 32), bfloat16) == pytest.approx(peak, rel=CLOSE)


def test_a_tensor_that_is_kept_is_found_in_the_peak(on_cuda: Call) -> None:
    counted = training_bytes(*on_gpu(plan_with()))
    assert on_cuda(work.step, plan_with(), fault="logits are kept", steps=6).peak > (1 + CLOSE) * counted
