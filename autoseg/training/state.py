"""What training changes: weights, their average, the optimiser's moments."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from autoseg.network.build import build
from autoseg.network.device import keep_freed_memory, place
from autoseg.network.distributed import with_synced_norms
from autoseg.plan import Plan


@dataclass(kw_only=True)
class State:
    """What training changes: weights, their average, and the optimiser's moments."""

    network: nn.Module
    average: nn.Module | None
    optimiser: Optimizer
    done: int = 0  # iterations
    rate_factor: float = 1.0  # of the plan's learning rate; less after the training had to be rolled back

    @property
    def best(self) -> nn.Module:
        """The weights to predict with."""
        return self.network if self.average is None else self.average


def new_state(plan: Plan) -> State:
    """Return a freshly initialised network on the plan's device, its average and its optimiser; seeded."""
    torch.manual_seed(plan.seed)
    if plan.device == "cpu":
        keep_freed_memory()
    network = place(with_synced_norms(build(plan), plan.device), plan.device)
    average = copy.deepcopy(network).eval().requires_grad_(False) if plan.optimiser.averaging else None
    kind = Adam if plan.optimiser.name == "adam" else AdamW
    optimiser = kind(
        network.parameters(),
        lr=plan.learning_rate,
        weight_decay=plan.optimiser.weight_decay,
        fused=plan.device != "mps",
    )
    return State(network=network, average=average, optimiser=optimiser)
