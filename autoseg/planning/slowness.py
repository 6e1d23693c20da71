"""Say where the time that was measured leaves a training few iterations, or other programs took a part of it."""

from __future__ import annotations

import logging

from autoseg.planning.budget import StepCost
from autoseg.words import counted

logger = logging.getLogger(__name__)
FEWEST_ITERATIONS = 100  # of a plan whose time the user has not told


def warn_of_others(cost: StepCost, way_out: str) -> None:
    """Say where other programs made iterations slower than they need be."""
    if cost.disturbed:
        logger.warning(
            "other programs took %.0f%% of the processors while iterations were measured, so it has too few: close "
            "them and %s",
            100 * cost.others_share, way_out,
        )  # fmt: skip


def warn_of_few(iterations: int, seconds_each: float) -> None:
    """Say where a time holds too few iterations to learn anything."""
    if iterations < FEWEST_ITERATIONS:
        logger.warning(
            "only %s fit the time, at the measured %.2g s each; most organs need hundreds: give more time, or close "
            "what else runs and plan again with --force",
            counted(iterations, "iteration"), seconds_each,
        )  # fmt: skip
