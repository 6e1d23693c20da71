"""One training iteration: the state that it changes, and the step, launched without waiting for the device."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from autoseg.data.batches import Batch
from autoseg.network.build import build
from autoseg.network.device import autocast, fastest_convolutions, keep_freed_memory, place
from autoseg.network.distributed import average_gradients, with_synced_norms
from autoseg.network.losses import hidden_mask, segmentation_loss
from autoseg.plan import Plan
from autoseg.training.schedule import class_weights_at, learning_rate


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


@dataclass(frozen=True)
class Outcome:
    """Loss and gradient norm of an iteration that may still be under way."""

    values: Tensor  # (2,) on the host
    ended: float | None = None  # when it ended (time.monotonic); None: it may be under way
    begun: torch.cuda.Event | None = None  # on CUDA, where the device comes to it and is done with it
    ready: torch.cuda.Event | None = None

    def read(self) -> tuple[float, float]:
        """Wait for the iteration; return its loss and gradient norm."""
        if self.ready is not None:
            self.ready.synchronize()
        loss, norm = self.values.tolist()
        return loss, norm

    def idle_s(self, before: Outcome | None) -> float | None:
        """Return how long the device did nothing since the iteration before; None: not known. Both have been read."""
        if before is None or before.ready is None or self.begun is None:
            return None
        return max(0.0, float(before.ready.elapsed_time(self.begun)) / 1000.0)


class Stepper:
    """Moves a state on by one iteration a call.

    An iteration whose loss or gradient is not finite leaves weights, moments and statistics as they were.
    """

    def __init__(self, plan: Plan, state: State) -> None:
        """Prepare.

        Args:
            plan: Of the training.
            state: To move; its tensors must not be replaced while this stepper is in use.
        """
        self.plan, self.state, self._scheme = plan, state, plan.scheme
        knobs = 2 + (0 if plan.loss.weights is None else plan.classes)  # rate, the average's share, class weights
        self._knobs = torch.zeros(knobs, device=plan.device)
        self._image, self._truth = (torch.empty(0, device=plan.device) for _ in range(2))
        self._hidden: Tensor | None = None  # classes that label maps of the batch do not show, (B, classes)
        if plan.device == "cuda":
            for group in state.optimiser.param_groups:
                group["lr"] = self._knobs[0]

    @property
    def rate(self) -> float:
        """The learning rate of the next iteration."""
        return self.state.rate_factor * learning_rate(self.state.done, self.plan)

    def __call__(self, batch: Batch) -> Outcome:
        """Start one iteration and count it."""
        begun = _event() if self.plan.device == "cuda" else None
        self._set_knobs()
        image, truth = torch.as_tensor(batch["data"]), torch.as_tensor(batch["seg"])[:, 0]
        hidden = hidden_mask(batch["hidden"], self.plan.classes)
        self._image, self._truth = _on_device(image, self.plan, torch.channels_last_3d), _on_device(truth, self.plan)
        self._hidden = None if hidden is None else _on_device(hidden, self.plan)
        with fastest_convolutions(self.plan.device):
            result = self._advance()
        self.state.done += 1
        return _outcome(result, begun)

    def _set_knobs(self) -> None:
        iteration, plan = self.state.done, self.plan
        # the decay grows with the iteration, so that the start is forgotten
        share = 1 - min(plan.optimiser.averaging, (1 + iteration) / (10 + iteration))
        weights = class_weights_at(iteration, plan) or ()
        self._knobs.copy_(torch.tensor([self.rate, share, *weights]), non_blocking=plan.device == "cuda")
        if plan.device != "cuda":
            for group in self.state.optimiser.param_groups:
                group["lr"] = self.rate

    def _advance(self) -> Tensor:
        """Do one iteration on the device's tensors; return loss and gradient norm, (2,)."""
        state, plan = self.state, self.plan
        statistics = [b for b in state.network.buffers() if b.is_floating_point()]
        before = [b.clone() for b in statistics]
        with autocast(plan.device, plan.precision):
            logits = state.network(self._image)
        weights = self._knobs[2:] if plan.loss.weights is not None else None
        loss = segmentation_loss(logits, self._truth.long(), plan.loss, weights, self._hidden, self._scheme)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(state.network.parameters())
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), plan.optimiser.gradient_clip or math.inf)
        finite = loss.detach().isfinite() & norm.isfinite()
        for current, previous in zip(statistics, before, strict=True):
            current.copy_(torch.where(finite, current, previous))
        self._move_weights(finite)
        if state.average is not None:
            _average(state.average, state.network, self._knobs[1])
        return torch.stack((loss.detach(), norm))

    def _move_weights(self, finite: Tensor) -> None:
        optimiser = self.state.optimiser
        if self.plan.device == "mps":  # no fused optimiser that could leave out a step by itself
            if bool(finite):
                optimiser.step()
            return
        optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined] # the fused step is left out where it is 1
        optimiser.step()


def _outcome(result: Tensor, begun: torch.cuda.Event | None) -> Outcome:
    if begun is None:
        return Outcome(result.cpu(), time.monotonic())
    values = torch.empty(2, pin_memory=True)
    values.copy_(result, non_blocking=True)
    return Outcome(values, begun=begun, ready=_event())


def _event() -> torch.cuda.Event:
    """Return an event that the device will reach after all it has been given so far."""
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _on_device(tensor: Tensor, plan: Plan, layout: torch.memory_format = torch.preserve_format) -> Tensor:
    if plan.device == "cuda":  # only from pinned memory is a copy not waited for
        return tensor.pin_memory().to("cuda", memory_format=layout, non_blocking=True)
    return tensor.to(plan.device, memory_format=torch.preserve_format if plan.device == "mps" else layout)


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, share: Tensor) -> None:
    """Move the running average of weights and statistics by a share towards the network's."""
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    averages, values = zip(*((k, n) for k, n in pairs if k.is_floating_point()), strict=True)
    difference = torch._foreach_sub(values, averages)
    torch._foreach_mul_(difference, share)
    torch._foreach_add_(averages, difference)
    for counter, now in ((k, n) for k, n in pairs if not k.is_floating_point()):
        counter.copy_(now)
