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
    network.load_state_dict(_part(tensors, "network."))
    if average is not None:
        average.load_state_dict(_part(tensors, "average."))
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in _part(tensors, "optimiser.").items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return int(facts["iteration"])


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
