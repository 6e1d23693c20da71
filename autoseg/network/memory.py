"""What one training step of the network costs in memory, counted on tensors that hold no data."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from autoseg.network.unet import UNet3D
from autoseg.plan import Plan

MASTER_BYTES = 16  # of a parameter: float32 value, gradient, and two moments of Adam


def training_bytes(plan: Plan, bfloat16: bool) -> int:
    """Return the memory of a training step: what autograd keeps, the loss, weights, gradients and moments.

    The network runs forward on fake tensors, and every tensor that autograd saves is counted once. The largest
    activation is added three times, for the transients of the backward pass (its gradient, and a convolution's
    input and workspace).

    Args:
        plan: Network, crop and batch.
        bfloat16: Whether the step runs under bfloat16 autocast.
    """
    kept: dict[int, int] = {}
    largest = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal largest
        size = tensor.untyped_storage().nbytes()
        kept[tensor.untyped_storage()._cdata] = size
        alive.append(tensor)
        largest = max(largest, size)
        return tensor

    alive: list[Tensor] = []
    with FakeTensorMode():
        network = UNet3D(len(plan.channels), plan.classes, plan.network)
        parameters = sum(p.numel() for p in network.parameters())
        own = {p.untyped_storage()._cdata for p in network.parameters()}
        image = torch.empty(plan.batch_size, len(plan.channels), *plan.crop_size)
        hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda t: t)
        with hooks, torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = network(image)
        voxels = logits.numel()
    activations = sum(size for storage, size in kept.items() if storage not in own)
    loss = 4 * voxels * 4  # float32 logits, probabilities, one-hot truth and their gradient
    averaged = 4 * parameters if plan.optimiser.averaging else 0
    return int(activations + 3 * largest + loss + MASTER_BYTES * parameters + averaged)
