"""Checkpoints: everything that training needs to go on to the bit, in tensors and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autoseg.errors import ModelError
from autoseg.inference.models import load_tensors, save_tensors
from autoseg.plan import Plan, parse_plan

CHECKPOINT = "autoseg checkpoint 1"
# what may change between a run and its continuation
FREE = {"iterations", "device", "tile_depth", "tile_overlap"}


def save_checkpoint(
    file: Path, plan: Plan, iteration: int, network: nn.Module, average: nn.Module | None, optimiser: Optimizer
) -> None:
    """Write a checkpoint after `iteration` iterations, atomically; batches and rates follow from the iteration."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{k}": torch.as_tensor(v) for k, v in state.items()}
    save_tensors(file, CHECKPOINT, tensors, {"plan": plan.model_dump_json(), "iteration": str(iteration)})


def load_checkpoint(file: Path, plan: Plan, network: nn.Module, average: nn.Module | None, optimiser: Optimizer) -> int:
    """Fill network, average and optimiser from a checkpoint; return how many iterations it has done.

    Raises:
        ModelError: If the file is damaged, or was made under a plan that differs in what matters for training.
    """
    tensors, facts = load_tensors(file, CHECKPOINT)
    before = parse_plan(facts.get("plan", ""), str(file))
    changed = [k for k in type(plan).model_fields if k not in FREE and getattr(plan, k) != getattr(before, k)]
    if changed:
        raise ModelError(
            f"{file}: was trained under another plan ({', '.join(changed)} differ); "
            f"restore the plan or remove {file.parent} to begin anew"
        )
    iteration = int(facts["iteration"])
    try:
        network.load_state_dict(_part(tensors, "network."))
        if average is not None:
            average.load_state_dict(_part(tensors, "average."))
        _fill(optimiser, _part(tensors, "optimiser."), begun=iteration > 0)
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(f"{file}: its tensors do not fit its plan ({reason}); remove it to begin anew") from error
    return iteration


def _fill(optimiser: Optimizer, tensors: dict[str, Tensor], begun: bool) -> None:
    """Set the optimiser's moments, in the memory format of their parameters, as its fused form needs."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for number, parameter in enumerate(parameters if begun else []):
        moments = (("exp_avg", torch.empty_like(parameter)), ("exp_avg_sq", torch.empty_like(parameter)))
        with torch.no_grad():
            state[number] = {key: empty.copy_(tensors[f"{number}.{key}"]) for key, empty in moments}
        state[number]["step"] = tensors[f"{number}.step"]
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def planned_iterations(file: Path) -> int | None:
    """Return how many iterations the training that wrote a checkpoint was to have; None where there is none.

    Raises:
        ModelError: If the checkpoint is damaged.
    """
    if not file.is_file():
        return None
    return parse_plan(load_tensors(file, CHECKPOINT)[1].get("plan", ""), str(file)).iterations


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
