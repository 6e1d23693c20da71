"""Loss and Dice of whole volumes on the working grid, at intervals during training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from autoseg.data.cache import CachedCase
from autoseg.inference.ensemble import Ensemble
from autoseg.inference.tiles import choose_tiling, predict_probabilities
from autoseg.metrics.overlap import dice
from autoseg.network.loss import hidden_mask, segmentation_loss
from autoseg.plan import Plan

LEAST = 1e-8  # probability whose logarithm is taken


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What whole volumes say about a network."""

    loss: float  # mean over the cases; every class weighs the same
    dice: dict[str, float]  # mean over the cases that have the organ; NaN where none has


def examine(network: nn.Module, plan: Plan, cases: Sequence[CachedCase]) -> Examined:
    """Predict cases whole and compare them with the truth on the working grid.

    A tile has no more voxels than a training step, so that it fits beside it.

    Args:
        network: On the plan's device; put into evaluation mode.
        plan: Tiles, labels and loss.
        cases: To predict.
    """
    network.eval()
    classes = tuple(range(1, plan.classes))
    scores: dict[int, list[float]] = {value: [] for value in classes}
    losses = []
    most = plan.batch_size * math.prod(plan.crop_size)
    for case in cases:
        tiling = choose_tiling(case.working.shape, plan, lambda tile: math.prod(tile) <= most)
        probabilities = predict_probabilities(Ensemble([network], plan), case.image(), tiling)
        truth = np.array(case.label())
        shown = tuple(value for value in classes if value not in case.hidden)
        for value, score in dice(probabilities.argmax(axis=0).astype(np.uint8), truth, shown).items():
            if score is not None:
                scores[value].append(score)
        logits = torch.from_numpy(probabilities)[None].clamp_min_(LEAST).log_()  # in place: it is a whole volume
        target, hidden = torch.from_numpy(truth)[None].long(), hidden_mask([case.hidden], plan.classes)
        losses.append(float(segmentation_loss(logits, target, plan.loss, None, hidden)))
    means = {value: float(np.mean(found)) if found else float("nan") for value, found in scores.items()}
    return Examined(
        loss=float(np.mean(losses)),
        dice={organ.name: means[value] for value, organ in zip(classes, plan.labels, strict=True)},
    )
