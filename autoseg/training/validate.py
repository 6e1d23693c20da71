"""Loss and Dice of whole volumes on the working grid, at intervals during training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from autoseg.data.cache import CachedCase
from autoseg.imaging.grid import Voxels
from autoseg.inference.tiles import (
    Ensemble,
    Tiling,
    choose_tiling,
    padded_shape,
    probability_slabs,
    tile_starts,
    while_too_large,
)
from autoseg.labels import IGNORED
from autoseg.metrics.overlap import dice
from autoseg.network.device import runs_bfloat16
from autoseg.network.losses import add_sums, hidden_mask, loss_of, loss_sums
from autoseg.network.memory import fits_beside_training
from autoseg.plan import Plan

LEAST = 1e-8  # probability whose logarithm is taken
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
        truth = np.array(case.label())
        predicted, loss = _predicted(Ensemble([network], plan), case, truth)
        losses.append(loss)
        shown = {index: scheme.atoms_of[index] for index in scheme.shown(case.hidden)}
        for index, score in dice(predicted, truth, shown, IGNORED).items():
            if score is not None:
                scores[index].append(score)
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


def _predicted(
    ensemble: Ensemble, case: CachedCase, truth: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], float]:
    """Return the predicted atoms of a case (Z, Y, X) and its loss; only one slab of all classes is held."""
    plan, hidden = ensemble.plan, hidden_mask([case.hidden], ensemble.plan.classes)

    def attempt(tiling: Tiling) -> tuple[npt.NDArray[np.uint8], float]:
        predicted, slices, parts = np.empty_like(truth), 0, []
        for slab in probability_slabs(ensemble, case.image(), tiling):
            part = slice(slices, slices := slices + slab.shape[1])
            predicted[part] = plan.scheme.decide(slab).numpy()
            logits, target = slab[None].clamp_min_(LEAST).log_(), torch.from_numpy(truth[None, part]).long()
            parts.append(loss_sums(logits, target, plan.loss, None, hidden, plan.scheme))
        return predicted, float(loss_of(add_sums(parts), plan.loss, None))

    return while_too_large(attempt, _tiling(case.working.shape, plan), plan)
