"""Tests of a training step on a GPU that is not there: nothing on the wrong device, and nothing that is waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cuda import work
from cuda.plans import PLANS, plan_with

from autoseg.network.build import NETWORKS

MOST_LAUNCHES = 170  # of a step of the U-Net of `plans`, which has 162; each costs the host about 10 µs
Call = Callable[..., Any]


def test_a_step_of_the_u_net_is_launched_by_few_operations(on_cuda: Call) -> None:
    assert on_cuda(work.step, plan_with()).launches <= MOST_LAUNCHES


def test_statistics_updated_one_by_one_are_too_many_launches(on_cuda: Call) -> None:
    assert on_cuda(work.step, plan_with(), fault="weights are averaged one by one").launches > MOST_LAUNCHES


@pytest.mark.parametrize("name", PLANS)
def test_steps_wait_for_nothing_and_are_replayed_as_a_graph_from_the_fourth_on(on_cuda: Call, name: str) -> None:
    plan = PLANS[name]
    seen = on_cuda(work.step, plan, (1,) if plan.loss.partial else (), steps=4)
    assert seen.operations["CUDAGraph.replay"] == 2
    assert seen.waits == ()


def test_a_step_that_waits_is_not_captured_and_goes_on_plainly(on_cuda: Call) -> None:
    once, later = (on_cuda(work.step, plan_with(), fault="the loss is read", steps=steps) for steps in (1, 5))
    assert "CUDAGraph.replay" not in later.operations
    assert len(later.waits) == 6 * len(once.waits)  # the refused capture, too


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_crops_become_bfloat16_and_logits_float32_and_no_other_big_tensor_changes(
    on_cuda: Call, kind: str, norm: str
) -> None:
    seen = on_cuda(work.step, plan_with(norm, kind))
    image, logits, back = seen.conversions
    assert image.startswith("2×1×32×32×32 float32 channels last to bfloat16 channels last")
    assert logits.startswith("2×3×32×32×32 bfloat16 channels last to float32 channels last")
    assert back.startswith("2×3×32×32×32 float32")
    assert seen.convolved == {"bfloat16 channels last"}


def test_float32_changes_no_big_tensor_at_all(on_cuda: Call) -> None:
    assert on_cuda(work.step, plan_with(precision="float32")).conversions == ()


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_step_leaves_no_memory_behind(on_cuda: Call, kind: str) -> None:
    plan = plan_with(kind=kind)
    assert on_cuda(work.step, plan).peak == on_cuda(work.step, plan, (), steps=4).peak


FAULTS = {
    "the loss is read": ("waits", "_local_scalar_dense"),
    "crops come from pageable memory": ("waits", "to cuda, blocking,"),
    "a layer converts": ("conversions", "channels last to bfloat16 channels first"),
    "the network keeps its layout": ("convolved", "bfloat16 channels first"),
}


def test_a_tensor_left_on_the_cpu_is_found(on_cuda: Call) -> None:
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        on_cuda(work.step, plan_with(), fault="the truth stays on the CPU")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_is_put_back_is_found(on_cuda: Call, fault: str) -> None:
    attribute, words = FAULTS[fault]
    noted = getattr(on_cuda(work.step, plan_with(), fault=fault), attribute)
    assert any(words in line for line in noted), noted
