"""The learning rate as a pure function of the iteration."""

from __future__ import annotations

import math

from autoseg.plan import Plan


def learning_rate(iteration: int, plan: Plan) -> float:
    """Return the learning rate of an iteration.

    Args:
        iteration: 0 for the first.
        plan: `constant`: the plan's rate. `cosine`: from it to zero at the plan's last iteration (Loshchilov and
            Hutter 2017). Both rise linearly over the warm-up.
    """
    warmup = plan.optimiser.warmup_iterations
    rise = min(1.0, (iteration + 1) / warmup) if warmup else 1.0
    if plan.optimiser.schedule == "constant":
        return plan.learning_rate * rise
    done = min(1.0, iteration / plan.iterations)
    return plan.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * done))
