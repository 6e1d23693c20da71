"""The memory that a training step and an inference tile take, computed from the network itself.

The network, its loss and the backward pass run on tensors that hold no data; every storage that comes into being is
added, and subtracted when it goes, so the peak is that of the real run, transients included. The tensors are a CPU's,
but a plan for CUDA is counted with the operations that it runs there: those that autocast treats otherwise say so
themselves (`Pool`, `norms`). The libraries' scratch space inside one operation is not seen; docs/benchmarks.md
compares prediction and reality.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from autoseg.imaging.grid import Voxels
from autoseg.labels import LabelScheme
from autoseg.network.build import build_network
from autoseg.network.losses import segmentation_loss
from autoseg.network.norms import norms_as_on_cuda
from autoseg.network.outputs import activate, of_classes, output_channels
from autoseg.plan import LossPlan, NetworkPlan, Plan

# small crops of the steps that are run through; a real step lies between two of them, on a GPU near the first
BATCHES, CUDA_BATCHES = (1, 4096), (1, 3, 9, 4096)
ALWAYS_FREE = 2**29  # bytes; beside a small step there is always so much, and small tiles are many that overlap
BLOCK = 512  # bytes; CUDA's allocator hands out multiples
INDEXED = 2**31  # numbers of a tensor that 32 bits count
EDGE = 4  # voxels that the deepest level of such a crop has on each axis


def training_bytes(plan: Plan, bfloat16: bool) -> int:
    """Return the peak memory of a training step: weights, gradients, moments, activations, loss, transients.

    At a given network it grows with the voxels of the batch, so some steps are run
    through and joined by straight lines. The peak is a maximum of straight lines: a chord is never less than it.

    Args:
        plan: Network, loss, crop and batch.
        bfloat16: Whether the step runs under bfloat16 autocast.
    """
    return _peaks_of_steps(plan, bfloat16).of(plan.batch_size * math.prod(plan.crop_size))


def tile_bytes(plan: Plan, tile: Voxels, bfloat16: bool) -> int:
    """Return the peak memory of predicting one tile: weights, activations, probabilities in float32.

    At a given network it grows with the tile's voxels; as `training_bytes`, it is joined of runs.

    Args:
        plan: Network and classes.
        tile: Voxels (Z, Y, X), divisible by the poolings.
        bfloat16: Whether it runs under bfloat16 autocast.
    """
    return _peaks_of_tiles(plan, bfloat16).of(math.prod(tile))


def is_indexable(plan: Plan, batch: int, crop: Voxels) -> bool:
    """Return whether CUDA's libraries can index the tensors that the network makes of a batch.

    The largest are the first level's. They count on with 32 bits: cuDNN within an image (torch gives it image by image
    where it must), of which the widest is what comes up from below beside what comes across; pooling of channels last
    within the whole batch.

    Args:
        plan: Network and device; other devices index with 64 bits.
        batch: Crops.
        crop: Voxels (Z, Y, X).
    """
    if plan.device != "cuda":
        return True
    first, second = (level.features[1] for level in plan.network.stages[:2])
    joined = first + (second if plan.network.up == "keep" else first)
    return math.prod(crop) * max(joined, output_channels(plan.scheme), batch * first) < INDEXED


def fits_beside_training(plan: Plan, tile: Voxels, bfloat16: bool) -> bool:
    """Return whether predicting a tile takes no more than what a training step needs and gives back, or ALWAYS_FREE.

    What training keeps from step to step (weights, gradients, moments) stays where it is meanwhile.

    Args:
        plan: Network, loss, crop and batch.
        tile: Voxels (Z, Y, X), divisible by the poolings.
        bfloat16: Whether both run under bfloat16 autocast.
    """
    if not is_indexable(plan, 1, tile):
        return False
    step = _peaks_of_steps(plan, bfloat16).growth(plan.batch_size * math.prod(plan.crop_size))
    return _peaks_of_tiles(plan, bfloat16).growth(math.prod(tile)) <= max(step, ALWAYS_FREE)


@dataclass(frozen=True, kw_only=True)
class _Peaks:
    """The straight lines between the peaks of some numbers of small crops."""

    peaks: tuple[int, ...]  # bytes
    crop: int  # voxels of such a crop

    def of(self, voxels: int) -> int:
        """Return the peak of so many voxels."""
        return int(self.peaks[0] + self._line(voxels / self.crop) - self._line(1))

    def growth(self, voxels: int) -> float:
        """Return the part of it that grows with the voxels."""
        return self._line(voxels / self.crop)

    def _line(self, crops: float) -> float:
        """Return what so many crops take more than none."""
        batches, total = _batches(len(self.peaks) > len(BATCHES)), 0.0
        for number, ((lower, upper), (least, most)) in enumerate(
            zip(pairwise(batches), pairwise(self.peaks), strict=True)
        ):
            begin = 0 if number == 0 else lower
            end = crops if upper == batches[-1] else min(crops, upper)
            total += max(0.0, end - begin) * (most - least) / (upper - lower)
        return total


def _batches(cuda: bool) -> tuple[int, ...]:
    return CUDA_BATCHES if cuda else BATCHES


def _peaks_of_tiles(plan: Plan, bfloat16: bool) -> _Peaks:
    peaks = _tiles(plan.network, len(plan.channels), plan.scheme, bfloat16, plan.device == "cuda")
    return _Peaks(peaks=peaks, crop=math.prod(EDGE * n for n in plan.network.divisor))


def _peaks_of_steps(plan: Plan, bfloat16: bool) -> _Peaks:
    loss = plan.loss.model_copy(update={"weights": None})
    copies = 3 if plan.optimiser.averaging else 2  # the moments of Adam, and the running average
    peaks = _steps(plan.network, len(plan.channels), plan.scheme, loss, copies, bfloat16, plan.device == "cuda")
    return _Peaks(peaks=peaks, crop=math.prod(EDGE * n for n in plan.network.divisor))


@lru_cache(maxsize=64)
def _tiles(plan: NetworkPlan, channels: int, scheme: LabelScheme, bfloat16: bool, cuda: bool) -> tuple[int, ...]:
    """Return the peaks of predicting numbers of small crops."""

    def predict(batch: int) -> None:
        network = _network(plan, channels, scheme, cuda).eval()
        image = _crops(batch, channels, plan, cuda)
        sent = torch.empty_like(image) if cuda else None  # as it came from the host, channels first
        with torch.inference_mode(), _autocast(bfloat16):
            logits = network(image)
        of_classes(scheme, activate(scheme, logits.float(), dim=1), dim=1)
        del sent

    return tuple(_peak_bytes(partial(predict, batch), cuda) for batch in _batches(cuda))


@lru_cache(maxsize=256)
def _steps(
    plan: NetworkPlan, channels: int, scheme: LabelScheme, loss: LossPlan, copies: int, bfloat16: bool, cuda: bool
) -> tuple[int, ...]:
    """Return the peaks of a step of numbers of small crops."""

    def step(batch: int) -> None:
        network = _network(plan, channels, scheme, cuda)
        persistent = [[torch.empty_like(p) for p in network.parameters()] for _ in range(copies)]  # from step to step
        gradients = [torch.empty_like(p) for p in network.parameters()]  # of the step before
        image = _crops(batch, channels, plan, cuda)
        truth = torch.empty(len(image), *image.shape[2:], dtype=torch.int64)
        with _autocast(bfloat16):
            logits = network(image)
        hidden = torch.zeros(len(image), scheme.classes, dtype=torch.bool) if loss.partial else None
        value = segmentation_loss(logits, truth, loss, None, hidden, scheme)
        del gradients
        value.backward()  # type: ignore[no-untyped-call]
        del persistent

    return tuple(_peak_bytes(partial(step, batch), cuda) for batch in _batches(cuda))


def _network(plan: NetworkPlan, channels: int, scheme: LabelScheme, cuda: bool) -> nn.Module:
    network = build_network(plan, channels, scheme)
    return norms_as_on_cuda(network) if cuda else network


def _autocast(bfloat16: bool) -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16, cache_enabled=False)


def _crops(count: int, channels: int, plan: NetworkPlan, cuda: bool) -> Tensor:
    """Return small crops; for CUDA one on top of the other, as norms take image by image there."""
    depth, height, width = (EDGE * n for n in plan.divisor)
    shape = (1, channels, count * depth, height, width) if cuda else (count, channels, depth, height, width)
    return torch.empty(shape)


def _peak_bytes(function: Callable[[], None], cuda: bool = False) -> int:
    ledger = _Ledger(BLOCK if cuda else 1)
    with torch.random.fork_rng(devices=()), FakeTensorMode(), ledger:
        function()
    return ledger.peak


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that are alive, and remembers the peak."""

    def __init__(self, block: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = 0
        self._block = block  # bytes, of which the allocator hands out multiples
        self._sizes = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.namespace == "aten":
            with self:  # in inference mode whole layers come here: what they consist of is counted
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._sizes:
            return
        size = -(-storage.nbytes() // self._block) * self._block
        self._sizes[storage] = size
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.alive -= size
