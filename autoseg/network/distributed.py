"""Training with several processes (torch.distributed): rank, sums and means over the team, shared batch norms.

Each process holds the whole network and a share of every batch. Batch statistics, the loss and the gradient are those
of the whole batch, so the number of processes changes nothing but rounding.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from autoseg.errors import AutosegError, PlanError, TeamLostError
from autoseg.files import write_text
from autoseg.machine import failure_file, process_place
from autoseg.network.device import DeviceName
from autoseg.words import counted

LOST = (
    *("Connection closed by peer", "Connection reset by peer", "Timed out waiting"),  # gloo's words
    *("remote process exited", "communicator was aborted", "Watchdog caught collective operation timeout"),  # NCCL's
    "failed to recv, got 0 bytes",  # those of the store through which both meet
)


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def process_rank() -> int:
    """Return this process's number; 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def require_devices(device: DeviceName, processes: int) -> None:
    """Refuse more processes on this machine than it has devices for.

    Raises:
        PlanError: If there are too few devices.
    """
    if device == "mps" and processes > 1:
        raise PlanError("--device mps: several processes cannot train on it together; train with one")
    if device == "cuda" and processes > torch.cuda.device_count():
        devices = counted(torch.cuda.device_count(), "GPU")
        raise PlanError(f"{processes} processes on this machine, which has {devices}: each needs one; start as many")


@contextmanager
def process_group(device: DeviceName) -> Iterator[None]:
    """Join the team that torchrun (or Slurm with its variables) has started; alone, do nothing.

    Raises:
        PlanError: If the device cannot be used by several processes.
        TeamLostError: If another of them ends before its time.
    """
    place = process_place()
    if place.size == 1 or dist.is_initialized():
        yield
        return
    require_devices(device, place.size if device == "mps" else max(place.local_size, place.local_rank + 1))
    if device == "cuda":
        torch.cuda.set_device(place.local_rank)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    leave = _abort if device == "cuda" else dist.destroy_process_group
    try:
        yield
        dist.barrier()  # nobody leaves while another still hears from it
        leave = dist.destroy_process_group
    except RuntimeError as error:
        if any(words in str(error) for words in LOST):
            raise TeamLostError("another process of the team has ended before its time") from error
        raise
    finally:
        leave()
        gc.collect()  # what still holds the group's threads would abort the process when it ends


def _abort() -> None:
    """Leave a team that is no longer whole; NCCL's orderly way waits for all others and for what devices still do."""
    with suppress(RuntimeError):  # a backend that has no such way, or has ended already
        dist.distributed_c10d._abort_process_group()


def report_failure(error: AutosegError) -> bool:
    """Report to torchrun why this process failed, in the form of its error files; return whether it will."""
    file = failure_file()
    if file is None:
        return False
    if isinstance(error, TeamLostError):  # which is another's fault: that one tells
        return True
    details = {"py_callstack": str(error), "timestamp": str(int(time.time()))}
    try:
        write_text(file, json.dumps({"message": {"message": str(error), "extraInfo": details}}))
    except OSError:  # the disk is full
        return False
    return True


def from_first(value: float) -> float:
    """Return the first process's value, in all of them."""
    if world_size() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)


def barrier() -> None:
    """Wait until every process of the team has come here."""
    if world_size() > 1:
        dist.barrier()


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum over the team of a tensor; gradients flow back through it to every process."""
    return _JointSum.apply(values) if world_size() > 1 else values  # type: ignore[no-untyped-call]


class _JointSum(torch.autograd.Function):
    """Sums over the team in both directions: every process's loss depends on every process's values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Set every gradient to its mean over the team, in one message."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    means = torch.split(flat, [g.numel() for g in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


class SyncedBatchNorm(nn.BatchNorm3d):
    """Batch norm over the whole team's batch, for CPU tensors, which torch's own (SyncBatchNorm) does not take."""

    def forward(self, image: Tensor) -> Tensor:
        """Normalise (B, C, Z, Y, X)."""
        if not self.training or world_size() == 1:
            return super().forward(image)
        axes, values = (0, 2, 3, 4), image.float()
        count = sum_over_processes(values.new_full((), image.numel() // image.shape[1]))
        mean = sum_over_processes(values.sum(axes)) / count
        variance = sum_over_processes((values - mean[:, None, None, None]).square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (values * scale[:, None, None, None] + shift[:, None, None, None]).to(image.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        momentum = self.momentum or 0.0
        statistics = dict(self.named_buffers())
        statistics["running_mean"].lerp_(mean, momentum)
        statistics["running_var"].lerp_(variance, momentum)
        statistics["num_batches_tracked"].add_(1)


def with_synced_norms(network: nn.Module, device: DeviceName) -> nn.Module:
    """Replace the batch norms of a network by those of the whole team; alone, return it as it is."""
    if world_size() == 1:
        return network
    if device == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return,no-untyped-call]
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm3d):
            joint = SyncedBatchNorm(child.num_features)
            joint.load_state_dict(child.state_dict())
            network.add_module(name, joint)
        else:
            with_synced_norms(child, device)
    return network
