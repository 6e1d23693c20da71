"""What a GPU does for autoseg, done on tensors that hold no data; each function runs in the process of `conftest`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import made
import numpy as np
import torch
from cuda.device import Watch, fake_cuda

from autoseg.data.batches import Batch
from autoseg.imaging.grid import Box, Voxels
from autoseg.inference.tiles import Ensemble, Mirrors, Tiling, probability_slabs, sliding_window
from autoseg.inference.upsample import Upsampler
from autoseg.network.build import build
from autoseg.network.device import place
from autoseg.network.unet import Convolution, fold_norms
from autoseg.plan import Plan
from autoseg.training import iteration, state
from autoseg.training.state import new_state
from autoseg.training.step import Stepper
from autoseg.training.validate import examine


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the device was asked for."""

    launches: int
    operations: dict[str, int]
    waits: tuple[str, ...]  # of the host, and where in autoseg
    conversions: tuple[str, ...]  # of layout or type, of big tensors
    convolved: frozenset[str]  # types and layouts of what the convolutions give, where it is big
    peak: int  # bytes
    before: int  # bytes that were alive when it began

    @classmethod
    def of(cls, watch: Watch, before: int) -> Seen:
        """Return what has been noted."""
        return cls(
            launches=watch.launches,
            operations=dict(watch.operations.most_common()),
            waits=tuple(watch.waits),
            conversions=tuple(watch.conversions),
            convolved=frozenset(watch.convolved),
            peak=watch.peak,
            before=before,
        )


def batch_of(plan: Plan, hidden: Sequence[int] = ()) -> Batch:
    """Return a batch without data."""
    image = torch.empty(plan.batch_size, len(plan.channels), *plan.crop_size)
    truth = torch.zeros(plan.batch_size, 1, *plan.crop_size, dtype=torch.uint8)
    return {
        "data": image,
        "seg": truth,
        "keys": ["case"] * plan.batch_size,
        "hidden": [tuple(hidden)] * plan.batch_size,
    }


def step(plan: Plan, hidden: Sequence[int] = (), fault: str = "", steps: int = 1) -> Seen:
    """Do one training step, after one that sets up the optimiser.

    Args:
        plan: Of the training.
        hidden: Classes that no label map of the batch shows.
        fault: Of FAULTS, to be found.
        steps: To look at.
    """
    plan = plan.model_copy(update={"device": "cuda"})
    with FAULTS[fault]() if fault else nullcontext(), fake_cuda() as watch:
        stepper, batch = Stepper(plan, new_state(plan)), batch_of(plan, hidden)
        stepper(batch)
        watch.begin()
        before = watch.alive
        for _ in range(steps):
            stepper(batch)
        return Seen.of(watch, before)


def examination(plan: Plan, folder: Path, shape: Voxels) -> Seen:
    """Examine a network on one case."""
    plan = plan.model_copy(update={"device": "cuda"})
    case = made.random_case(folder, shape)
    with fake_cuda() as watch:
        network = place(build(plan), plan.device)
        watch.begin()
        before = watch.alive
        examine(network, plan, [case])
        return Seen.of(watch, before)


def tiles(plan: Plan, tiling: Tiling, shape: Voxels, networks: int = 1, mirrors: Mirrors = ((),)) -> Seen:
    """Predict a volume in tiles, as `predict` does: with folded norms."""
    plan = plan.model_copy(update={"device": "cuda"})
    image = np.zeros((len(plan.channels), *shape), np.float32)
    with fake_cuda() as watch:
        some = [place(build(plan), plan.device).eval().requires_grad_(False) for _ in range(networks)]
        for network in some:
            fold_norms(network)
        watch.begin()
        before = watch.alive
        for slab in probability_slabs(Ensemble(some, plan, mirrors), image, tiling):
            assert slab.device.type == "cpu"
        return Seen.of(watch, before)


def prediction(plan: Plan, tiling: Tiling, shape: Voxels, full: Voxels, box: Box, fault: str = "") -> Seen:
    """Predict a box of a volume of the working grid in tiles, and paint the mask of an image of `full` voxels."""
    plan = plan.model_copy(update={"device": "cuda"})
    image = np.zeros((len(plan.channels), *shape), np.float32)
    with FAULTS[fault]() if fault else nullcontext(), fake_cuda() as watch:
        network = place(build(plan), plan.device).eval().requires_grad_(False)
        fold_norms(network)
        watch.begin()
        before = watch.alive
        upsampler = sliding_window(
            Ensemble([network], plan), image, box, tiling, lambda: Upsampler(plan.scheme, shape, full)
        )
        assert (upsampler.mask.shape, upsampler.coarse.shape) == (full, shape)
        assert len(upsampler.certainty.estimates()) == len(plan.labels)
        return Seen.of(watch, before)


_loss = iteration.segmentation_loss


def _faulty_loss(change: str) -> AbstractContextManager[object]:
    kept = []

    def loss(logits: torch.Tensor, truth: torch.Tensor, *others: object) -> torch.Tensor:
        value = _loss(logits, truth.cpu() if change == "truth" else truth, *others)  # type: ignore[arg-type]
        if change == "read":
            float(value)
        if change == "keep":
            kept.append(logits.float())
        return value

    return mock.patch.object(iteration, "segmentation_loss", loss)


@contextmanager
def _first_layout() -> Iterator[None]:
    with (
        mock.patch.object(state, "place", lambda network, device: network.to(device)),
        mock.patch.object(
            Stepper, "_placed", lambda _, tensor, *how: tensor.pin_memory().to("cuda", non_blocking=True)
        ),
    ):
        yield


@contextmanager
def _pageable() -> Iterator[None]:
    with mock.patch.object(Stepper, "_placed", lambda _, tensor, *how: tensor.to("cuda")):
        yield


@contextmanager
def _converting() -> Iterator[None]:
    forward = Convolution.forward
    with mock.patch.object(Convolution, "forward", lambda layer, image: forward(layer, image.contiguous())):
        yield


def _average_one_by_one(average: Any, share: torch.Tensor) -> None:
    with torch.no_grad():
        for own, value in zip(average._averages, average._values, strict=True):
            own.add_((value - own).mul_(share))


@contextmanager
def _averaging() -> Iterator[None]:
    with mock.patch.object(iteration._Average, "move", _average_one_by_one):
        yield


@contextmanager
def _tile_by_tile() -> Iterator[None]:
    mean = Ensemble.mean
    with mock.patch.object(Ensemble, "mean", lambda ensemble, piece: mean(ensemble, piece).cpu()):
        yield


FAULTS: dict[str, Callable[[], AbstractContextManager[object]]] = {  # what goes wrong, put back on purpose
    "the truth stays on the CPU": partial(_faulty_loss, "truth"),
    "the loss is read": partial(_faulty_loss, "read"),
    "logits are kept": partial(_faulty_loss, "keep"),
    "crops come from pageable memory": _pageable,
    "the network keeps its layout": _first_layout,
    "a layer converts": _converting,
    "each tile is fetched": _tile_by_tile,
    "weights are averaged one by one": _averaging,
}
