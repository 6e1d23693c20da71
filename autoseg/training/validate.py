"""Loss and Dice of whole volumes on the working grid, at intervals during training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autoseg.data.cache import CachedCase
from autoseg.imaging.grid import Voxels
from autoseg.inference.tiles import (
    WAY_OUT,
    Ensemble,
    Tiling,
    choose_tiling,
    padded_shape,
    probability_slabs,
    tile_starts,
    while_too_large,
)
from autoseg.labels import IGNORED
from autoseg.metrics.overlap import overlap_of_pairs
from autoseg.network.device import memory_explained, runs_bfloat16, send
from autoseg.network.losses import add_sums, hidden_mask, loss_of, loss_sums
from autoseg.network.memory import fits_beside_training
from autoseg.network.outputs import logits_of, of_classes
from autoseg.network.region_losses import Sums
from autoseg.plan import Plan

EXAMINATIONS = 20  # at most, over the whole training
EXAMINED_SHARE = 0.05  # of the training's work that examining the validation cases takes, at most
LEARNT = 3.0  # voxels predicted at the cost of one that is learnt from: forward, backward to input and to weights


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What whole volumes say about a network."""

    loss: float  # mean over the cases; every class weighs the same
    dice: dict[str, float]  # mean over the cases that have the organ; NaN where none has


def examine(network: nn.Module, plan: Plan, cases: Sequence[CachedCase]) -> Examined:
    """Predict cases whole and compare them with the truth on the working grid.

    Args:
        network: On the plan's device; put into evaluation mode.
        plan: Tiles, labels and loss.
        cases: To predict.
    """
    network.eval()
    scheme = plan.scheme
    scores: dict[int, list[float]] = {index: [] for index in scheme.organs}
    losses = []
    for case in cases:
        pairs, loss = _predicted(Ensemble([network], plan, keeps_outputs=True), case)
        losses.append(loss)
        shown = {index: scheme.atoms_of[index] for index in scheme.shown(case.hidden)}
        for index, counts in overlap_of_pairs(pairs, shown).items():
            if counts.dice is not None:
                scores[index].append(counts.dice)
    means = {index: float(np.mean(dices)) if dices else float("nan") for index, dices in scores.items()}
    return Examined(
        loss=float(np.mean(losses)),
        dice={organ.name: means[index] for index, organ in scheme.organs.items()},
    )


def examinations(plan: Plan, cases: Sequence[CachedCase]) -> int:
    """Return how often to examine validation cases in a training: EXAMINATIONS times, or less where it is much work.

    It follows from plan and cases alone, so that a resumed training examines when one that ran through does.
    """
    predicted = sum(_predicted_voxels(case.working.shape, plan) for case in cases)
    learnt = plan.iterations * plan.batch_size * math.prod(plan.crop_size)
    return min(EXAMINATIONS, max(1, int(EXAMINED_SHARE * LEARNT * learnt / max(1, predicted))))


def _predicted_voxels(shape: Voxels, plan: Plan) -> int:
    """Return how many voxels go through the network for a volume, those of several tiles counted several times."""
    tiling, padded = _tiling(shape, plan), padded_shape(shape, plan)
    starts = (tile_starts(n, tile, tiling.overlap) for n, tile in zip(padded, tiling.tile, strict=True))
    return math.prod(tiling.tile) * sum(1 for _ in itertools.product(*starts))


def _tiling(shape: Voxels, plan: Plan) -> Tiling:
    """Return the largest tiles that fit beside what training keeps."""
    bfloat16 = runs_bfloat16(plan.device, plan.precision)
    return choose_tiling(shape, plan, lambda tile: fits_beside_training(plan, tile, bfloat16))


def _predicted(ensemble: Ensemble, case: CachedCase) -> tuple[npt.NDArray[np.int64], float]:
    """Return how many voxels of a case have each pair of atoms, predicted and true, and its loss.

    Only one slab of all classes is held. All is added up where the slabs are, and read at the end.
    """
    plan, truth = ensemble.plan, torch.from_numpy(np.array(case.label()))
    hidden, scheme = hidden_mask([case.hidden], plan.classes), plan.scheme

    def attempt(tiling: Tiling) -> tuple[npt.NDArray[np.int64], float]:
        pairs, slices, sums = list[Tensor](), 0, list[Sums]()
        with memory_explained(WAY_OUT):
            for slab in probability_slabs(ensemble, case.image(), tiling, on_device=True):
                true = send(truth[slices : (slices := slices + slab.shape[1])], slab.device)
                pairs.append(_pairs(scheme.decide(of_classes(scheme, slab, dim=0)), true, len(scheme.values)))
                outside = None if hidden is None else send(hidden, slab.device)
                logits = logits_of(scheme, slab[None])
                sums.append(loss_sums(logits, true[None].long(), plan.loss, None, outside, scheme))
            return torch.stack(pairs).sum(0).cpu().numpy(), float(loss_of(add_sums(sums), plan.loss, None, scheme))

    return while_too_large(attempt, _tiling(case.working.shape, plan), plan)


def _pairs(predicted: Tensor, truth: Tensor, atoms: int) -> Tensor:
    """Return how many voxels have each pair of atoms, (predicted, true); those whose truth is not known have none."""
    known = truth != IGNORED
    place = predicted.flatten().long() * atoms + truth.flatten().clamp(max=atoms - 1)
    # not bincount, for which the host would wait
    counts = torch.zeros(atoms * atoms, dtype=torch.int64, device=truth.device)
    return counts.scatter_add_(0, place, known.flatten().long()).view(atoms, atoms)
