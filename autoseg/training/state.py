"""One training step: weights, their average, the optimiser."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from autoseg.data.batches import Batch
from autoseg.errors import TrainingError
from autoseg.network.device import autocast, place
from autoseg.network.loss import segmentation_loss
from autoseg.network.unet import UNet3D
from autoseg.plan import Plan
from autoseg.training.schedule import class_weights, learning_rate


@dataclass(kw_only=True)
class State:
    """What training changes: weights, their average, and the optimiser's moments."""

    network: nn.Module
    average: nn.Module | None
    optimiser: Optimizer
    done: int = 0  # iterations

    @property
    def best(self) -> nn.Module:
        """The weights to predict with."""
        return self.network if self.average is None else self.average


def new_state(plan: Plan) -> State:
    """Return a freshly initialised network on the plan's device, its average and its optimiser; seeded."""
    torch.manual_seed(plan.seed)
    network = place(UNet3D(len(plan.channels), plan.classes, plan.network), plan.device)
    average = copy.deepcopy(network).eval().requires_grad_(False) if plan.optimiser.averaging else None
    kind = Adam if plan.optimiser.name == "adam" else AdamW
    optimiser = kind(
        network.parameters(),
        lr=plan.learning_rate,
        weight_decay=plan.optimiser.weight_decay,
        fused=plan.device != "mps",
    )
    return State(network=network, average=average, optimiser=optimiser)


def step(plan: Plan, state: State, batch: Batch) -> float:
    """Do one iteration and count it; return its loss.

    Raises:
        TrainingError: If the loss or its gradient is not finite.
    """
    iteration = state.done
    image, truth = _on_device(batch, plan)
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(iteration, plan)
    with autocast(plan.device):
        logits = state.network(image)
    loss = segmentation_loss(logits, truth, plan.loss, class_weights(iteration, plan))
    value = float(loss.detach())
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), plan.optimiser.gradient_clip or math.inf)
    if not (math.isfinite(value) and torch.isfinite(norm)):
        raise TrainingError(
            f"iteration {iteration}: the loss is {value:g}, the gradient {float(norm):g}; plan a lower learning rate "
            f"(--set learning_rate={plan.learning_rate / 10:g}), remove the fold's folder and train anew"
        )
    state.optimiser.step()
    if state.average is not None:
        _average(state.average, state.network, iteration, plan.optimiser.averaging)
    state.done += 1
    return value


def _on_device(batch: Batch, plan: Plan) -> tuple[Tensor, Tensor]:
    image, truth = torch.as_tensor(batch["data"]), torch.as_tensor(batch["seg"])[:, 0]
    if plan.device == "mps":
        return image.to("mps"), truth.to("mps").long()
    placed = image.to(plan.device, memory_format=torch.channels_last_3d, non_blocking=True)
    return placed, truth.to(plan.device, non_blocking=True).long()


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, iteration: int, decay: float) -> None:
    """Move the running average towards the weights; the decay grows with the iteration, so the start is forgotten."""
    share = 1 - min(decay, (1 + iteration) / (10 + iteration))
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, share)
        else:
            kept.copy_(new)
