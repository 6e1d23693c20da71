"""One training iteration on tensors that lie where the network does: nothing in it waits for the device.

All that differs from one iteration to the next stands in its inputs, so a CUDA graph of it can be replayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoseg.network.device import autocast
from autoseg.network.distributed import average_gradients
from autoseg.network.losses import segmentation_loss
from autoseg.plan import Plan
from autoseg.training.state import State


@dataclass
class Inputs:
    """What an iteration reads beside the state, on its device."""

    image: Tensor  # (B, C, Z, Y, X)
    truth: Tensor  # atoms, uint8 (B, Z, Y, X)
    hidden: Tensor | None  # classes that label maps of the batch do not show, bool (B, classes); None: all are shown
    rate: Tensor  # of learning, 0-dimensional as the next
    share: Tensor  # by which the running average moves
    class_weights: Tensor | None  # (classes,); None: all 1


class Iteration:
    """Moves weights, moments, statistics and their average on by one iteration a call.

    An iteration whose loss or gradient is not finite leaves weights, moments and statistics as they were.
    """

    def __init__(self, plan: Plan, state: State, inputs: Inputs) -> None:
        """Prepare.

        Args:
            plan: Of the training.
            state: To move; its tensors must not be replaced while this is in use.
            inputs: Read anew by each call.
        """
        self._plan, self._scheme, self._inputs = plan, plan.scheme, inputs
        self._network, self._optimiser = state.network, state.optimiser
        self._parameters = list(state.network.parameters())
        self._statistics = _Statistics([b for b in state.network.buffers() if b.is_floating_point()])
        self._average = None if state.average is None else _Average(state.average, state.network)

    def __call__(self) -> Tensor:
        """Do one iteration; return its loss and the norm of its gradient, (2,)."""
        inputs, plan = self._inputs, self._plan
        before = self._statistics.gathered()
        with autocast(plan.device, plan.precision):
            logits = self._network(inputs.image)
        truth, weights = inputs.truth.long(), inputs.class_weights
        loss = segmentation_loss(logits, truth, plan.loss, weights, inputs.hidden, self._scheme)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(self._parameters)
        norm = self._clipped_norm()
        finite = loss.detach().isfinite() & norm.isfinite()
        self._statistics.restore_unless(finite, before)
        self._move_weights(finite)
        if self._average is not None:
            self._average.move(inputs.share)
        self._optimiser.zero_grad(set_to_none=True)  # now, so that no iteration begins with those of the one before
        return torch.stack((loss.detach(), norm))

    def _clipped_norm(self) -> Tensor:
        """Clip the gradient, where the plan says so; return its norm before that."""
        most = self._plan.optimiser.gradient_clip
        if most:
            return nn.utils.clip_grad_norm_(self._parameters, most)
        return nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])

    def _move_weights(self, finite: Tensor) -> None:
        if self._plan.device == "mps":  # no fused optimiser that could leave out a step by itself
            if bool(finite):
                self._optimiser.step()
            return
        self._optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined] # the fused step is left out where it is 1
        self._optimiser.step()


class _Statistics:
    """The running statistics of the norms: looked at together, as one operation on each would cost more than itself."""

    def __init__(self, statistics: list[Tensor]) -> None:
        self._each = statistics
        if statistics:
            self._together = torch.cat(statistics)
            self._parts = torch.split(self._together, [len(s) for s in statistics])

    def gathered(self) -> Tensor | None:
        """Return a copy of all of them; None where there are none."""
        return torch.cat(self._each) if self._each else None

    @torch.no_grad()
    def restore_unless(self, finite: Tensor, before: Tensor | None) -> None:
        """Go back to those gathered before, unless all went well."""
        if before is not None:
            torch.where(finite, torch.cat(self._each), before, out=self._together)
            torch._foreach_copy_(self._each, self._parts)


class _Average:
    """The running average of weights and statistics; what is counted is not averaged but taken over."""

    def __init__(self, average: nn.Module, network: nn.Module) -> None:
        pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
        self._averages = [average for average, _ in pairs if average.is_floating_point()]
        self._values = [value for _, value in pairs if value.is_floating_point()]
        self._counters = [average for average, _ in pairs if not average.is_floating_point()]
        self._counts = [value for _, value in pairs if not value.is_floating_point()]

    @torch.no_grad()
    def move(self, share: Tensor) -> None:
        """Move it by a share towards the network's."""
        difference = torch._foreach_sub(self._values, self._averages)
        torch._foreach_mul_(difference, share)
        torch._foreach_add_(self._averages, difference)
        if self._counters:
            torch._foreach_copy_(self._counters, self._counts)
