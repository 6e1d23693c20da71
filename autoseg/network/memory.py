"""The memory that a training step and an inference tile take, computed from the network itself.

The network, its loss and the backward pass run on tensors that hold no data; every storage that comes into being is
added, and subtracted when it goes, so the peak is that of the real run, transients included. The libraries' scratch
space inside one operation is not seen; docs/benchmarks.md compares prediction and reality.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from autoseg.imaging.grid import Voxels
from autoseg.labels import LabelScheme
from autoseg.network.build import NETWORKS
from autoseg.network.losses import segmentation_loss
from autoseg.plan import LossPlan, NetworkPlan, Plan

BATCHES = (1, 4096)  # such crops of the two steps that are run through; a real step lies between
ALWAYS_FREE = 2**29  # bytes; beside a small step there is always so much, and small tiles are many that overlap
EDGE = 4  # voxels that the deepest level of such a crop has on each axis


def training_bytes(plan: Plan, bfloat16: bool) -> int:
    """Return the peak memory of a training step: weights, gradients, moments, activations, loss, transients.

    At a given network it grows with the voxels of the batch, so two steps are run
    through and joined by a straight line. The peak is a maximum of straight lines: their chord is never less than it.

    Args:
        plan: Network, loss, crop and batch.
        bfloat16: Whether the step runs under bfloat16 autocast.
    """
    return _peaks_of_steps(plan, bfloat16).of(plan.batch_size * math.prod(plan.crop_size))


def tile_bytes(plan: Plan, tile: Voxels, bfloat16: bool) -> int:
    """Return the peak memory of predicting one tile: weights, activations, probabilities of its classes in float32.

    At a given network it grows with the tile's voxels; as `training_bytes`, it is joined of two small runs.

    Args:
        plan: Network and classes.
        tile: Voxels (Z, Y, X), divisible by the poolings.
        bfloat16: Whether it runs under bfloat16 autocast.
    """
    return _peaks_of_tiles(plan, bfloat16).of(math.prod(tile))


def fits_beside_training(plan: Plan, tile: Voxels, bfloat16: bool) -> bool:
    """Return whether predicting a tile takes no more than what a training step needs and gives back, or ALWAYS_FREE.

    What training keeps from step to step (weights, gradients, moments) stays where it is meanwhile.

    Args:
        plan: Network, loss, crop and batch.
        tile: Voxels (Z, Y, X), divisible by the poolings.
        bfloat16: Whether both run under bfloat16 autocast.
    """
    step = _peaks_of_steps(plan, bfloat16).growth(plan.batch_size * math.prod(plan.crop_size))
    return _peaks_of_tiles(plan, bfloat16).growth(math.prod(tile)) <= max(step, ALWAYS_FREE)


@dataclass(frozen=True, kw_only=True)
class _Peaks:
    """The straight line through the peaks of BATCHES small crops."""

    least: int  # bytes
    most: int
    crop: int  # voxels of such a crop

    def of(self, voxels: int) -> int:
        """Return the peak of so many voxels."""
        return int(self.least + self.growth(voxels - self.crop))

    def growth(self, voxels: int) -> float:
        """Return the part of it that grows with the voxels."""
        return voxels / self.crop / (BATCHES[1] - BATCHES[0]) * (self.most - self.least)


def _peaks_of_tiles(plan: Plan, bfloat16: bool) -> _Peaks:
    least, most = _tiles(plan.network, len(plan.channels), plan.classes, bfloat16)
    return _Peaks(least=least, most=most, crop=math.prod(EDGE * n for n in plan.network.divisor))


def _peaks_of_steps(plan: Plan, bfloat16: bool) -> _Peaks:
    loss = plan.loss.model_copy(update={"weights": None})
    copies = 3 if plan.optimiser.averaging else 2  # the moments of Adam, and the running average
    least, most = _steps(plan.network, len(plan.channels), plan.scheme, loss, copies, bfloat16)
    return _Peaks(least=least, most=most, crop=math.prod(EDGE * n for n in plan.network.divisor))


@lru_cache(maxsize=64)
def _tiles(plan: NetworkPlan, channels: int, classes: int, bfloat16: bool) -> tuple[int, int]:
    """Return the peaks of predicting BATCHES small crops."""

    def predict(batch: int) -> None:
        network = NETWORKS[plan.kind].build(channels, classes, plan).eval()
        image = torch.empty(batch, channels, *(EDGE * n for n in plan.divisor))
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = network(image)
        logits.float().softmax(dim=1)

    small, large = (_peak_bytes(partial(predict, batch)) for batch in BATCHES)
    return small, large


@lru_cache(maxsize=256)
def _steps(
    plan: NetworkPlan, channels: int, scheme: LabelScheme, loss: LossPlan, copies: int, bfloat16: bool
) -> tuple[int, int]:
    """Return the peaks of a step of BATCHES small crops."""

    def step(batch: int) -> None:
        network = NETWORKS[plan.kind].build(channels, scheme.classes, plan)
        persistent = [[torch.empty_like(p) for p in network.parameters()] for _ in range(copies)]  # from step to step
        gradients = [torch.empty_like(p) for p in network.parameters()]  # of the step before
        crop = [EDGE * n for n in plan.divisor]
        image = torch.empty(batch, channels, *crop)
        truth = torch.empty(batch, *crop, dtype=torch.int64)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = network(image)
        hidden = torch.zeros(batch, scheme.classes, dtype=torch.bool) if loss.partial else None
        value = segmentation_loss(logits, truth, loss, None, hidden, scheme)
        del gradients
        value.backward()  # type: ignore[no-untyped-call]
        del persistent

    small, large = (_peak_bytes(partial(step, batch)) for batch in BATCHES)
    return small, large


def _peak_bytes(function: Callable[[], None]) -> int:
    ledger = _Ledger()
    with torch.random.fork_rng(devices=()), FakeTensorMode(), ledger:
        function()
    return ledger.peak


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that are alive, and remembers the peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = 0
        self._sizes = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._sizes:
            return
        size = storage.nbytes()
        self._sizes[storage] = size
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.alive -= size
