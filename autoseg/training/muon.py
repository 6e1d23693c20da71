"""Muon: the kernels of convolutions are moved by matrices whose singular values are about 1; AdamW moves all else.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the scale of a step as in Liu et
al. 2025, "Muon is scalable for LLM training", so that a learning rate of AdamW serves for both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from autoseg.network.device import float32_as_stated

MOMENTUM = 0.95
ROUNDS = 5  # of the iteration of Newton and Schulz
# its coefficients of x, x³ and x⁵: they take singular values to between 0.7 and 1.2
QUINTIC = (3.4445, -4.7750, 2.0315)
STEP_RMS = 0.2  # root mean square of a step at a learning rate of 1: about that of AdamW
TINY = 1e-7


class Muon(AdamW):
    """AdamW that leaves the kernels between the first and the last convolution to Muon."""

    def __init__(self, network: nn.Module, lr: float, weight_decay: float, fused: bool, capturable: bool) -> None:
        """Prepare; arguments as of AdamW, but for the network whose parameters are moved."""
        kernels = hidden_kernels(network)
        chosen = {id(kernel) for kernel in kernels}
        others = [parameter for parameter in network.parameters() if id(parameter) not in chosen]
        groups: list[dict[str, Any]] = [{"params": others}, {"params": kernels}]
        super().__init__(groups, lr=lr, weight_decay=weight_decay, fused=fused, capturable=capturable)

    def moments_of(self, parameter: Tensor) -> tuple[str, ...]:
        """Return the names of the moments of a parameter."""
        is_kernel = any(kernel is parameter for kernel in self.param_groups[1]["params"])
        return ("exp_avg",) if is_kernel else ("exp_avg", "exp_avg_sq")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient, unless `found_inf` is 1."""
        others, kernels = self.param_groups
        self.param_groups = [others]
        try:
            super().step(closure)
        finally:
            self.param_groups = [others, kernels]
        found_inf = getattr(self, "found_inf", None)
        with float32_as_stated("cuda", "float32"):  # in TF32 rounding would grow from round to round
            for kernel in kernels["params"]:
                if kernel.grad is not None:
                    self._move(kernel, kernels, None if found_inf is None else found_inf == 0)

    def _move(self, kernel: Tensor, group: dict[str, Any], finite: Tensor | None) -> None:
        """Move one kernel; nothing waits for the device, so that a CUDA graph can hold it."""
        state, gradient = self.state[kernel], kernel.grad
        if gradient is None:
            return
        if not state:
            state["step"] = torch.zeros((), device=kernel.device)
            state["exp_avg"] = torch.zeros_like(kernel)
        momentum = state["exp_avg"]
        after = momentum * MOMENTUM + gradient
        step = orthogonal((gradient + MOMENTUM * after).reshape(len(kernel), -1)).reshape(kernel.shape)
        step = step * (STEP_RMS * max(len(kernel), kernel[0].numel()) ** 0.5) + group["weight_decay"] * kernel
        count = torch.ones_like(state["step"])
        if finite is not None:  # what is not finite leaves all as it was
            after, step = torch.where(finite, after, momentum), torch.where(finite, step, 0.0)
            count = finite.to(count.dtype)
        momentum.copy_(after)
        state["step"] += count
        kernel.sub_(group["lr"] * step)


def hidden_kernels(network: nn.Module) -> list[nn.Parameter]:
    """Return the kernels of all convolutions but the first, which reads the image, and the last, which classifies."""
    return [parameter for parameter in network.parameters() if parameter.ndim == 5][1:-1]


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix with the singular vectors of this one, and singular values of about 1.

    The polynomials of the rounds are multiplied as small square matrices, so that the long side of this one is gone
    through twice, and not twice a round.

    Args:
        matrix: (rows, columns).
    """
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + TINY)
    gram, one = wide @ wide.T, torch.eye(len(wide), dtype=wide.dtype, device=wide.device)
    product = one
    for _ in range(ROUNDS):
        a, b, c = QUINTIC
        polynomial = a * one + b * gram + c * (gram @ gram)
        product = polynomial @ product
        gram = polynomial @ gram @ polynomial
    result: Tensor = product @ wide
    return result if len(matrix) <= matrix.shape[1] else result.T
