"""The learning rate as a pure function of the iteration."""

from __future__ import annotations

import math

from autoseg.plan import Plan

LONGEST_WARMUP = 0.2  # of all iterations: a longer warm-up would leave a short training below its rate


def learning_rate(iteration: int, plan: Plan) -> float:
    """Return the learning rate of an iteration.

    Args:
        iteration: 0 for the first.
        plan: `constant`: the plan's rate. `cosine`: from it to zero at the plan's last iteration (Loshchilov and
            Hutter 2017). Both rise linearly over the warm-up.
    """
    warmup = warmup_iterations(plan.optimiser.warmup_iterations, plan.iterations)
    rise = min(1.0, (iteration + 1) / warmup) if warmup else 1.0
    if plan.optimiser.schedule == "constant":
        return plan.learning_rate * rise
    return plan.learning_rate * rise * _cosine(iteration, plan)


def warmup_iterations(planned: int, iterations: int) -> int:
    """Return the iterations of warm-up: as planned, where these are at most a fifth of the training.

    >>> warmup_iterations(50, 250), warmup_iterations(50, 23), warmup_iterations(0, 23)
    (50, 4, 0)
    """
    return min(planned, int(LONGEST_WARMUP * iterations))


def class_weights_at(iteration: int, plan: Plan) -> tuple[float, ...] | None:
    """Return the loss's weight of each class in an iteration, background first; None: all 1.

    Fading weights are w_l to the power of a cosine from 1 to 0: at first small organs are heard, in the end every
    voxel counts the same, so that organs are not drawn too large (docs/experiments.md).
    """
    if plan.loss.weights is None or not plan.loss.fade_weights:
        return plan.loss.weights
    return tuple(weight ** _cosine(iteration, plan) for weight in plan.loss.weights)


def _cosine(iteration: int, plan: Plan) -> float:
    """Return 1 at the first iteration, 0 at the last, along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, iteration / plan.iterations)))
