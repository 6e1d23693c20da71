"""The training step as the loop calls it: a batch to the device, one iteration launched, nothing waited for."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from autoseg.data.batches import Batch
from autoseg.network.device import fastest_convolutions, release_memory
from autoseg.network.distributed import world_size
from autoseg.network.losses import hidden_mask
from autoseg.network.unet import leave_out_biases
from autoseg.plan import Plan
from autoseg.training.graph import Replayed
from autoseg.training.iteration import Inputs, Iteration
from autoseg.training.schedule import class_weights_at, learning_rate
from autoseg.training.state import State


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
    """Moves a state on by one iteration a call."""

    def __init__(self, plan: Plan, state: State, processes: int | None = None) -> None:
        """Prepare.

        Args:
            plan: Of the training.
            state: To move; its tensors must not be replaced while this stepper is in use.
            processes: That train together; None: as many as there are now. One alone replays a graph on CUDA.
        """
        self.plan, self.state = plan, state
        knobs = 2 + (0 if plan.loss.weights is None else plan.classes)  # rate, the average's share, class weights
        self._knobs = torch.zeros(knobs, device=plan.device)
        self._inputs = Inputs(
            image=torch.empty(0, device=plan.device),
            truth=torch.empty(0, device=plan.device),
            hidden=None,
            rate=self._knobs[0],
            share=self._knobs[1],
            class_weights=None if plan.loss.weights is None else self._knobs[2:],
        )
        self._stays = plan.device == "cuda"  # the inputs' place, as a graph reads them where they were
        if plan.device == "cuda":
            for network in filter(None, (state.network, state.average)):
                leave_out_biases(network)
            for group in state.optimiser.param_groups:
                group["lr"] = self._inputs.rate
        iteration = Iteration(plan, state, self._inputs)
        self._graph = Replayed(iteration) if plan.device == "cuda" and (processes or world_size()) == 1 else None
        self._advance = self._graph or iteration

    @property
    def rate(self) -> float:
        """The learning rate of the next iteration."""
        return self.state.rate_factor * learning_rate(self.state.done, self.plan)

    def __call__(self, batch: Batch) -> Outcome:
        """Start one iteration and count it."""
        begun = _event() if self.plan.device == "cuda" else None
        self._set_knobs()
        self._take(batch)
        with fastest_convolutions(self.plan.device, self.plan.precision):
            result = self._advance()
        self.state.done += 1
        return _outcome(result, begun)

    def release(self) -> None:
        """Give back what an iteration takes beside the state, for others; the next one takes it again."""
        if self._graph is not None:
            self._graph.release()
            release_memory(self.plan.device)

    def _set_knobs(self) -> None:
        iteration, plan = self.state.done, self.plan
        # the decay grows with the iteration, so that the start is forgotten
        share = 1 - min(plan.optimiser.averaging, (1 + iteration) / (10 + iteration))
        weights = class_weights_at(iteration, plan) or ()
        self._knobs.copy_(torch.tensor([self.rate, share, *weights]), non_blocking=plan.device == "cuda")
        if plan.device != "cuda":
            for group in self.state.optimiser.param_groups:
                group["lr"] = self.rate

    def _take(self, batch: Batch) -> None:
        """Bring a batch to where the iteration reads it."""
        inputs, plan = self._inputs, self.plan
        image, truth = torch.as_tensor(batch["data"]), torch.as_tensor(batch["seg"])[:, 0]
        hidden = hidden_mask(batch["hidden"], plan.classes)
        if hidden is None and plan.loss.partial and self._stays:  # there is one graph, with a mask
            hidden = torch.zeros(len(image), plan.classes, dtype=torch.bool)
        inputs.image = self._placed(image, inputs.image, torch.channels_last_3d)
        inputs.truth = self._placed(truth, inputs.truth)
        inputs.hidden = None if hidden is None else self._placed(hidden, inputs.hidden)

    def _placed(
        self, tensor: Tensor, before: Tensor | None, layout: torch.memory_format = torch.preserve_format
    ) -> Tensor:
        """Return a tensor of the host on the device; where inputs stay, in place of the one before it."""
        if self.plan.device == "cuda" and not tensor.is_cuda and not tensor.is_pinned():
            tensor = tensor.pin_memory()  # only from there a copy is not waited for
        if not self._stays:
            return tensor.to(
                self.plan.device, memory_format=torch.preserve_format if self.plan.device == "mps" else layout
            )
        if before is None or before.shape != tensor.shape or before.dtype != tensor.dtype:
            self.release()  # a graph reads what is given up
            before = torch.empty_like(tensor, device=self.plan.device, memory_format=layout)
        return before.copy_(tensor, non_blocking=True)


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
