"""Dice of whole volumes on the working grid, at intervals during training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from autoseg.data.cache import CachedCase
from autoseg.inference.tiles import predict_probabilities
from autoseg.metrics import dice
from autoseg.plan import Plan


def working_dice(network: nn.Module, plan: Plan, cases: Sequence[CachedCase]) -> dict[str, float]:
    """Return the mean Dice of each organ over cases, NaN where no case has it; leaves the network in training mode.

    Args:
        network: On the plan's device.
        plan: Tiles and labels.
        cases: Validation cases, predicted whole.
    """
    network.eval()
    classes = tuple(range(1, plan.classes))
    scores: dict[int, list[float]] = {value: [] for value in classes}
    for case in cases:
        found = predict_probabilities([network], plan, case.image()).argmax(axis=0).astype(np.uint8)
        for value, score in dice(found, case.label(), classes).items():
            if score is not None:
                scores[value].append(score)
    network.train()
    means = {value: float(np.mean(found)) if found else float("nan") for value, found in scores.items()}
    return {organ.name: means[value] for value, organ in zip(classes, plan.labels, strict=True)}
