"""What training changes: the weights, their running average, and the optimiser's moments; and copies of it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from autoseg.network.build import build
from autoseg.network.device import keep_freed_memory, place
from autoseg.network.distributed import with_synced_norms
from autoseg.network.weights import tensors_under
from autoseg.plan import Plan
from autoseg.training.muon import Muon

MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam, one of each a parameter


@dataclass(kw_only=True)
class State:
    """A training under way."""

    network: nn.Module
    average: nn.Module | None
    optimiser: Optimizer
    done: int = 0  # iterations
    rate_factor: float = 1.0  # of the plan's learning rate; less after the training had to be rolled back

    @property
    def best(self) -> nn.Module:
        """The weights to predict with."""
        return self.network if self.average is None else self.average

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those of the network, as the optimiser numbers them."""
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]

    def tensors(self) -> dict[str, Tensor]:
        """Return all of it by name: weights, average, moments, and how many steps each of them has seen.

        A parameter that never had a gradient, as a bias that is left out, has moments of 0.
        """
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for number, parameter in enumerate(self.parameters if self.optimiser.state else []):
            moments = self.optimiser.state.get(parameter) or no_moments(parameter, self.optimiser)
            tensors |= {f"optimiser.{number}.{key}": torch.as_tensor(value) for key, value in moments.items()}
        return tensors


def moments_of(parameter: Tensor, optimiser: Optimizer) -> tuple[str, ...]:
    """Return the names of the moments that an optimiser has of a parameter."""
    return optimiser.moments_of(parameter) if isinstance(optimiser, Muon) else MOMENTS


def no_moments(parameter: Tensor, optimiser: Optimizer) -> dict[str, Tensor]:
    """Return the moments of a parameter that has seen no step."""
    names = moments_of(parameter, optimiser)
    zeros = {key: torch.zeros_like(parameter, requires_grad=False) for key in names}
    return {"step": torch.zeros((), device=parameter.device), **zeros}


def new_state(plan: Plan) -> State:
    """Return a freshly initialised network on the plan's device, its average and its optimiser; seeded."""
    torch.manual_seed(plan.seed)
    if plan.device == "cpu":
        keep_freed_memory()
    network = build(plan)
    network = place(with_synced_norms(network, plan.device), plan.device)
    average = copy.deepcopy(network).eval().requires_grad_(False) if plan.optimiser.averaging else None
    return State(network=network, average=average, optimiser=_optimiser(plan, network))


def _optimiser(plan: Plan, network: nn.Module) -> Optimizer:
    settings: dict[str, Any] = {
        "lr": plan.learning_rate,
        "weight_decay": plan.optimiser.weight_decay,
        "fused": plan.device != "mps",
        "capturable": plan.device == "cuda",
    }
    if plan.optimiser.name == "muon":
        return Muon(network, **settings)
    kind = Adam if plan.optimiser.name == "adam" else AdamW
    return kind(network.parameters(), **settings)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A state as it was after an iteration, on the host."""

    tensors: dict[str, Tensor]  # by the names of `State.tensors`
    done: int  # iterations
    rate_factor: float
    ready: torch.cuda.Event | None  # on CUDA, where the device has copied all of it

    @property
    def best(self) -> dict[str, Tensor]:
        """The weights to predict with, by their names in the network."""
        averaged = any(name.startswith("average.") for name in self.tensors)
        return tensors_under(self.tensors, "average." if averaged else "network.")

    def wait(self) -> None:
        """Wait until the copies are there."""
        if self.ready is not None:
            self.ready.synchronize()


def snapshot(state: State) -> Snapshot:
    """Copy a state to the host, in the layout of files; on CUDA the device does so when it comes to it."""
    tensors, ready = {}, None
    for name, tensor in state.tensors().items():
        copied = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        tensors[name] = copied.copy_(tensor.detach(), non_blocking=tensor.is_cuda)
    if next(state.network.parameters()).is_cuda:
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record()
    return Snapshot(tensors=tensors, done=state.done, rate_factor=state.rate_factor, ready=ready)
