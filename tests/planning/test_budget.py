"""Tests of autoseg.planning.budget: for which device, and of which machine, a plan is made."""

from __future__ import annotations

import made
import pytest

from autoseg.errors import PlanError
from autoseg.options import PlanOptions
from autoseg.planning import budget
from autoseg.planning.budget import batch_bytes, choose_budget


def test_a_cpu_plan_is_for_this_machine_and_all_its_processes() -> None:
    chosen, here = choose_budget(PlanOptions(device="cpu", gpus=3))
    assert (chosen.device, chosen.processes, here) == ("cpu", 3, True)
    assert chosen.memory_gib > 0


@pytest.mark.parametrize(("device", "is_here"), [("cpu", False), ("cuda", True)])
def test_a_gpu_memory_plans_for_cuda_which_this_machine_may_not_have(
    monkeypatch: pytest.MonkeyPatch, device: str, is_here: bool
) -> None:
    monkeypatch.setattr(budget, "pick_device", lambda _: device)
    chosen, here = choose_budget(PlanOptions(gpu_memory_gib=8.0, gpus=16))
    assert (chosen.device, chosen.memory_gib, chosen.processes, here) == ("cuda", 8.0, 16, is_here)


def test_a_gpu_without_memory_is_refused() -> None:
    with pytest.raises(PlanError, match="--gpu-memory -1: must be positive"):
        choose_budget(PlanOptions(gpu_memory_gib=-1.0))


def test_a_batch_has_four_bytes_of_each_channel_and_one_of_the_label_map() -> None:
    plan = made.plan(channels=("CT", "PET"), crop_size=(4, 6, 10), batch_size=3)
    assert batch_bytes(plan, 1) == 3 * 240 * (4 + 4 + 1)
    assert batch_bytes(plan, 2) == 2 * 240 * 9  # the larger share
