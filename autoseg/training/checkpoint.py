"""Checkpoints: everything that training needs to go on to the bit, in tensors and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from autoseg.errors import ModelError
from autoseg.network.weights import load_tensors, read_facts, save_tensors, tensors_under
from autoseg.plan import Plan, parse_plan
from autoseg.training.step import State

CHECKPOINT = "autoseg checkpoint 1"
# what may change between a run and its continuation
FREE = {"iterations", "device", "tile_depth", "tile_overlap", "tile_weights"}


def save_checkpoint(file: Path, plan: Plan, cases: str, state: State) -> None:
    """Write a checkpoint, atomically; batches and learning rates follow from the iteration.

    Args:
        file: Where.
        plan: Of the training.
        cases: Key of the training cases, from `cases_digest`.
        state: Weights, moments and iteration.
    """
    tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for number, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{k}": torch.as_tensor(v) for k, v in moments.items()}
    facts = {"plan": plan.model_dump_json(), "cases": cases, "iteration": str(state.done)}
    facts["rate_factor"] = repr(state.rate_factor)
    save_tensors(file, CHECKPOINT, tensors, facts)


def load_checkpoint(file: Path, plan: Plan, cases: str, state: State) -> None:
    """Fill a state from a checkpoint.

    Raises:
        ModelError: If the file is damaged, or was made under a plan that differs in what matters for training, or on
            other cases.
    """
    tensors, facts = load_tensors(file, CHECKPOINT)
    before = parse_plan(facts.get("plan", ""), str(file))
    old, new = (one.model_dump(exclude=FREE) for one in (before, plan))
    changed = [key for key in new if new[key] != old[key]]
    if changed:
        raise ModelError(
            f"{file}: was trained under another plan ({', '.join(changed)} differ); "
            f"restore the plan or remove {file.parent} to begin anew"
        )
    if facts.get("cases") != cases:
        raise ModelError(
            f"{file}: was trained on other cases (the split or the data changed); "
            f"restore them or remove {file.parent} to begin anew"
        )
    state.done = int(facts["iteration"])
    state.rate_factor = float(facts.get("rate_factor", "1"))
    try:
        state.network.load_state_dict(tensors_under(tensors, "network."))
        if state.average is not None:
            state.average.load_state_dict(tensors_under(tensors, "average."))
        _fill(state.optimiser, tensors_under(tensors, "optimiser."), begun=state.done > 0)
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(f"{file}: its tensors do not fit its plan ({reason}); remove it to begin anew") from error


def _fill(optimiser: Optimizer, tensors: dict[str, Tensor], begun: bool) -> None:
    """Set the optimiser's moments, in the memory format of their parameters, as its fused form needs."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for number, parameter in enumerate(parameters if begun else []):
        moments = (("exp_avg", torch.empty_like(parameter)), ("exp_avg_sq", torch.empty_like(parameter)))
        with torch.no_grad():
            state[number] = {key: empty.copy_(tensors[f"{number}.{key}"]) for key, empty in moments}
        state[number]["step"] = tensors[f"{number}.step"].clone()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def planned_iterations(file: Path) -> int | None:
    """Return how many iterations the training that wrote a checkpoint was to have; None where there is none.

    Raises:
        ModelError: If the checkpoint is damaged.
    """
    if not file.is_file():
        return None
    return parse_plan(read_facts(file, CHECKPOINT).get("plan", ""), str(file)).iterations
