"""What each of two stages gets of the user's settings, of the time, and of a CPU's voxels a step."""

from __future__ import annotations

from dataclasses import replace

from autoseg.errors import PlanError
from autoseg.options import PlanOptions
from autoseg.planning.budget import Budget
from autoseg.planning.fit import FINER, ITERATIONS_SHARE
from autoseg.planning.recipe import CPU_TRAINING_S, GPU_ITERATIONS

STEP_SHARES = (2 / 3, 1 / 2)  # of the voxels that a step of one stage may have on a CPU


def options_of_stages(options: PlanOptions, is_on_cpu: bool) -> tuple[PlanOptions, PlanOptions]:
    """Return what the user asks of each of two stages: the settings of each, and half of the time or iterations.

    Raises:
        PlanError: If there is a preset.
    """
    if options.preset is not None:
        raise PlanError("--stages 2: a preset is a plan of one stage; leave --preset out, or plan with --stages 1")
    if options.gpus > 1:
        raise PlanError(f"--stages 2: two stages train on one device; leave --gpus {options.gpus} out")
    own = {key: value for key, value in options.settings.items() if not key.startswith(FINER)}
    finer = {key.removeprefix(FINER): value for key, value in options.settings.items() if key.startswith(FINER)}
    if "iterations" in own:
        finer.setdefault("iterations", own["iterations"])
    time_s = options.time_budget_s
    if time_s is None and is_on_cpu and options.iterations is None and "iterations" not in own:
        time_s = CPU_TRAINING_S / ITERATIONS_SHARE
    if time_s is None and not is_on_cpu and options.iterations is None and "iterations" not in own:
        options = replace(options, iterations=GPU_ITERATIONS // 2)
    half_s = None if time_s is None else time_s / 2
    return replace(options, settings=own, time_budget_s=half_s), replace(options, settings=finer, time_budget_s=half_s)


def budgets_of_stages(budget: Budget) -> tuple[Budget, Budget]:
    """Return the budget of each of two stages: on a CPU smaller steps, so that in half of the time there are enough."""
    first, second = (replace(budget, cpu_step_voxels=int(share * budget.cpu_step_voxels)) for share in STEP_SHARES)
    return first, second
