"""Figures of single operations on a GPU: each convolution of the paper's network, and what is bound by memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoseg.network.device import fastest_convolutions

from .gpu_bench import Bench, milliseconds, row, survived, table

LAYERS = (
    (1, 32, 64),
    (8, 32, 64),
    (32, 64, 64),
    (192, 64, 64),
    (64, 64, 64),
    (64, 128, 32),
    (384, 128, 32),
    (128, 128, 32),
    (768, 256, 16),
    (256, 256, 16),
    (256, 512, 8),
    (32, 32, 128),
    (64, 32, 128),
)
TOY_LAYERS = ((1, 8, 8), (8, 8, 8))


def layers(bench: Bench) -> None:
    """Print each convolution of the paper's network alone, and what is bound by memory beside them."""
    table("convolution", "GFLOP", "ms", "TFLOP/s", "to input ms", "TFLOP/s", "to weights ms", "TFLOP/s")
    for features_in, features_out, n in TOY_LAYERS if bench.toy else LAYERS:
        name, batch = f"{features_in} to {features_out} at {n}³", 2 if n == 128 else 3
        if bench.left_s < 10:
            row(name, "left out")
            continue
        with survived(name), fastest_convolutions(bench.device):
            shapes = (
                (batch, features_in, n, n, n),
                (features_out, features_in, 3, 3, 3),
                (batch, features_out, n, n, n),
            )
            x, w, gradient = (
                torch.randn(s, device=bench.device, dtype=torch.bfloat16).to(memory_format=torch.channels_last_3d)
                for s in shapes
            )
            work = 2 * 27 * features_in * features_out * n**3 * batch / 1e9
            times = [milliseconds(bench, partial(functional.conv3d, x, w, padding=1))]
            for mask in ([True, False, False], [False, True, False]):
                back = partial(_backward, gradient, x, w, mask)
                times.append(milliseconds(bench, back))
            row(name, f"{work:.0f}", *(cell for ms in times for cell in (f"{ms:.3f}", f"{work / ms:.0f}")))
    with survived("what is bound by memory"):
        _bound_by_memory(bench)


def _backward(gradient: Tensor, x: Tensor, weights: Tensor, mask: list[bool]) -> object:
    """Do a 3³ convolution's backward pass: to the input, to the weights, to the bias, as the mask says."""
    how = ([weights.shape[0]], [1] * 3, [1] * 3, [1] * 3, False, [0] * 3, 1)
    return torch.ops.aten.convolution_backward(gradient, x, weights, *how, mask)


def _bound_by_memory(bench: Bench) -> None:
    n = 8 if bench.toy else 64
    x = torch.randn(3, 64, n, n, n, device=bench.device, dtype=torch.bfloat16).to(memory_format=torch.channels_last_3d)
    norm, pool = nn.BatchNorm3d(64).to(bench.device), nn.MaxPool3d(2)
    x.requires_grad_()
    y, pooled = norm(x), pool(x)
    grad, small = torch.randn_like(y), torch.randn_like(pooled)
    passes: dict[str, tuple[float, Callable[[], object]]] = {
        "batch norm backward": (5, lambda: torch.autograd.grad(y, x, grad, retain_graph=True)),
        "max pool backward": (2.6, lambda: torch.autograd.grad(pooled, x, small, retain_graph=True)),
        "batch norm": (3, lambda: norm(x.detach())),
        "max pool": (1.6, lambda: pool(x.detach())),
        "ReLU in place": (2, lambda: functional.relu_(y.detach())),
        "sum to a bias": (1, lambda: grad.sum((0, 2, 3, 4))),
        "cat of twice 64 features": (4, lambda: torch.cat([grad, grad], 1)),
    }
    table(f"64 features at 3×{n}³", "passes", "ms", "TB/s")
    for name, (count, function) in passes.items():
        took = milliseconds(bench, function)
        row(name, count, f"{took:.3f}", f"{count * 2 * x.numel() / took / 1e9:.2f}")
