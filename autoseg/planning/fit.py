"""The last word on a plan: the user's settings, what was measured, the iterations that fit."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.dataset.names import side_pairs
from autoseg.errors import PlanError
from autoseg.imaging.grid import Voxels
from autoseg.machine import default_workers
from autoseg.network.build import require_known
from autoseg.plan import WRITE_SETTING, Plan, asked, with_settings
from autoseg.planning.budget import Budget, StepCost, share_of, step_gib
from autoseg.planning.planner import Cost, Decision
from autoseg.planning.recipe import CPU_TRAINING_S, ENOUGH_ITERATIONS, MANY_ITERATIONS, grid_of, ratio, working_median
from autoseg.training.measure import measure_step
from autoseg.words import counted

logger = logging.getLogger(__name__)
ITERATIONS_SHARE = 0.9  # of a time budget; the rest goes into examinations and checkpoints
# what makes a step the user's own: it is then measured, but not derived again
STEP_KEYS = {"spacing_mm", "downsampling", "crop_size", "batch_size", "network", "precision"}
FEWEST_ITERATIONS = 100  # of a plan whose time the user has not told
SMALLEST_STEP = 50_000  # crop voxels x batch; it is made no smaller
MOST_VOXELS, FEWEST_VOXELS = 4 * 10**9, 64  # of the median volume on the working grid
ATTEMPTS = 4  # at a plan whose measured step fits memory and time
Derive = Callable[[Budget, Cost], Decision]
TIGHTER = 1.25  # how much more a step is taken to need after one that did not fit at all


@dataclass(frozen=True, kw_only=True)
class FittedPlan:
    """A plan that is final."""

    decision: Decision
    budget: Budget  # with the voxels that a step may have in the end
    measured: StepCost | None  # None where nothing was measured
    training_s: float | None = None  # that the steps fit; None: their number does not follow from the time
    corrected: bool = False  # whether the measured memory made the plan smaller


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What the user asks of the plan itself."""

    settings: Mapping[str, str]  # keys that replace derived ones
    measured: bool  # whether to run real iterations
    training_s: float | None = None  # that the training is to fit; None: on a CPU the steps fit CPU_TRAINING_S
    iterations: int | None = None  # where their number is told; a setting of that name goes before


def fit_plan(
    decision: Decision,
    found: Fingerprint,
    budget: Budget,
    derive: Derive,
    wishes: PlanRequest,
    here: bool,
) -> FittedPlan:
    """Apply the user's settings; measure where that is wanted or a CPU plan needs it; fix the iterations.

    Args:
        decision: What was derived.
        found: The dataset in numbers.
        budget: Device and memory.
        derive: Derives a plan for another budget or cost, where a measured step does not fit memory or time.
        wishes: What the user asks.
        here: Whether the plan is for this machine, so that it can be measured.

    Raises:
        PlanError: If a setting is not valid or does not fit the memory; the text proposes the nearest that does.
    """
    decision = apply_settings(decision, found, budget, wishes.settings)
    derived = decision.chosen is not None
    training_s = CPU_TRAINING_S if derived and budget.device == "cpu" else None
    if wishes.training_s is not None:
        training_s = ITERATIONS_SHARE * wishes.training_s
    if "iterations" in wishes.settings or wishes.iterations is not None:
        training_s = None
    least = FEWEST_ITERATIONS if wishes.training_s is None else 1
    if not here or not (wishes.measured or training_s):
        return FittedPlan(decision=_of_length(decision, wishes), budget=budget, measured=None)
    if derived and not STEP_KEYS & {key.partition(".")[0] for key in wishes.settings}:
        settled = _derived_until_it_fits(
            decision, found, budget, _with(wishes.settings, found, derive), training_s, least
        )
        return replace(settled, decision=_of_length(settled.decision, wishes))
    measured = _measured(decision.plan, found, budget.processes)
    if measured is None:
        raise PlanError(f"a step of this plan does not fit this {budget.device}; {nearest_fit(decision.plan, budget)}")
    decision = _of_length(_timed(decision, measured, training_s, least), wishes)
    return FittedPlan(decision=decision, budget=budget, measured=measured, training_s=training_s)


def _with(settings: Mapping[str, str], found: Fingerprint, derive: Derive) -> Derive:
    """Return what derives a plan and gives it the user's settings again; the memory stays as it was derived."""

    def again(budget: Budget, cost: Cost) -> Decision:
        derived = derive(budget, cost)
        return replace(apply_settings(derived, found, budget, settings), step_gib=derived.step_gib)

    return again


def _of_length(decision: Decision, wishes: PlanRequest) -> Decision:
    """Return the decision with the number of iterations that is told, if it is."""
    if wishes.iterations is None or "iterations" in wishes.settings:
        return decision
    return replace(decision, plan=with_settings(decision.plan, {"iterations": str(wishes.iterations)}))


def _derived_until_it_fits(
    decision: Decision, found: Fingerprint, budget: Budget, derive: Derive, training_s: float | None, least: int
) -> FittedPlan:
    """Measure; derive again while a step takes more memory than it may, and once where too few fit the time."""
    allowed, correction = budget, 1.0
    for attempt in range(1, ATTEMPTS + 1):
        measured = _measured(decision.plan, found, budget.processes)
        if measured is not None and measured.gib <= budget.step_gib:
            quicker = _quicker(budget, decision.plan, measured, training_s)
            if quicker is None or allowed is not budget or attempt == ATTEMPTS:
                return FittedPlan(
                    decision=_timed(decision, measured, training_s, least),
                    budget=allowed,
                    measured=measured,
                    training_s=training_s,
                    corrected=correction > 1,
                )
            allowed = quicker
        else:
            correction *= TIGHTER if measured is None else max(1.02, measured.gib / decision.step_gib)
        decision = derive(allowed, partial(_corrected, correction))
    raise PlanError("no plan was found whose measured step fits; give --gpu-memory, or --set batch_size=1")


def _measured(plan: Plan, found: Fingerprint, processes: int) -> StepCost | None:
    return measure_step(share_of(plan, processes), working_median(plan, found), default_workers(processes))


def _quicker(budget: Budget, plan: Plan, measured: StepCost, training_s: float | None) -> Budget | None:
    """Return the budget with so few crops a step, or voxels, that enough iterations fit the time; None: they do."""
    if training_s is None or budget.step_voxels is None:
        return None
    crops = plan.batch_size * training_s / measured.seconds_per_iteration  # that fit the time
    batch = min(plan.batch_size, max(2, budget.processes, int(crops / MANY_ITERATIONS)))
    fewer = replace(budget, cpu_batch=batch) if batch < plan.batch_size else budget
    if crops < ENOUGH_ITERATIONS * batch:
        voxels = round(crops * math.prod(plan.crop_size) / ENOUGH_ITERATIONS)
        fewer = replace(fewer, cpu_step_voxels=max(SMALLEST_STEP, voxels))
    return None if fewer == budget else fewer


def _timed(decision: Decision, measured: StepCost, training_s: float | None, least: int) -> Decision:
    """Return the decision with the iterations that fit the time."""
    if training_s is None:
        return decision
    fitting = max(least, int(training_s / measured.seconds_per_iteration))
    warn_of_others(measured, "plan again with --force")
    warn_of_few(fitting, measured.seconds_per_iteration)
    return replace(decision, plan=decision.plan.model_copy(update={"iterations": fitting}))


def warn_of_others(measured: StepCost, way_out: str) -> None:
    """Say where other programs made iterations slower than they need be."""
    if measured.disturbed:
        logger.warning(
            "other programs took %.0f%% of the processors while iterations were measured, which makes them far slower: "
            "fewer are thought to fit than will; close them and %s",
            100 * measured.others_share, way_out,
        )  # fmt: skip


def warn_of_few(iterations: int, seconds_each: float) -> None:
    """Say where a time holds too few iterations to learn anything."""
    if iterations < FEWEST_ITERATIONS:
        logger.warning(
            "only %s fit the time, at the measured %.2g s each; most organs need hundreds: give more time, close what "
            "else runs, or plan smaller steps (`autoseg plan --time-budget`, without --preset)",
            counted(iterations, "iteration"), seconds_each,
        )  # fmt: skip


def _corrected(correction: float, plan: Plan, budget: Budget) -> float:
    return correction * step_gib(plan, budget)


def apply_settings(decision: Decision, found: Fingerprint, budget: Budget, settings: Mapping[str, str]) -> Decision:
    """Return the decision with the user's settings.

    Raises:
        PlanError: If one is not valid or the step no longer fits the memory.
    """
    if "device" in settings:
        raise PlanError(f"--set device={settings['device']}: give it as --device, as memory and widths follow from it")
    plan = decision.plan
    if settings:
        plan = require_known(with_settings(plan, dict(settings)), asked(settings), WRITE_SETTING)
        plan = _on_one_grid(plan, found, settings)
    _require_sensible_grid(plan, found)
    _require_sides(plan)
    require_crops(plan, budget.processes)
    gib = step_gib(plan, budget)
    if gib > budget.step_gib:
        cause = " ".join(f"--set {key}={value}" for key, value in settings.items()) or f"preset {plan.preset or ''}"
        raise PlanError(
            f"{cause}: a step would take {gib:.1f} GiB, {budget.step_gib:.1f} of the {budget.memory_gib:.1f} GiB are "
            f"for it; {nearest_fit(plan, budget)}"
        )
    if decision.chosen is not None and {"spacing_mm", "downsampling"} & set(settings):
        decision = replace(decision, chosen=grid_of(plan, found), rejected=(), finer_for=())
    elif decision.chosen is None:
        decision = replace(decision, grids=(grid_of(plan, found),))
    return replace(decision, plan=plan, step_gib=gib, changed=tuple(settings))


def require_crops(plan: Plan, processes: int) -> None:
    """Refuse more processes than a batch has crops.

    Raises:
        PlanError: If there are more.
    """
    if plan.batch_size < processes:
        raise PlanError(
            f"batch_size {plan.batch_size} on {processes} processes: each needs a crop; start at most "
            f"{plan.batch_size}, or plan for them: `autoseg plan … --gpus {processes}`, a preset with --set "
            f"batch_size={processes}"
        )


def _require_sides(plan: Plan) -> None:
    """Refuse crops mirrored along x where organs are left and right pairs: one would be learnt as the other."""
    pairs = side_pairs(plan.labels)
    if pairs and "x" in plan.augmentation.mirrored:
        names = plan.scheme.names
        shown = ", ".join(f"{names[left]} and {names[right]}" for left, right in pairs[:3])
        raise PlanError(f"augmentation.mirrored {list(plan.augmentation.mirrored)}: {shown} are a pair; leave out x")


def _require_sensible_grid(plan: Plan, found: Fingerprint) -> None:
    """Refuse a grid on which a volume has next to no voxels, or more than anyone can hold."""
    shape = working_median(plan, found)
    if math.prod(shape) > MOST_VOXELS or math.prod(shape) < FEWEST_VOXELS <= math.prod(found.median_shape):
        raise PlanError(
            f"spacing_mm {plan.spacing_mm}, downsampling {plan.downsampling}: the median volume would have {shape} "
            f"voxels (z, y, x); its own spacing is {found.median_spacing_mm} mm, take something near it or coarser"
        )


def nearest_fit(plan: Plan, budget: Budget) -> str:
    """Return which batch, or else which crop, is the nearest that fits, as a way out for the user."""
    least = budget.processes  # each has a crop
    for batch in range(plan.batch_size - 1, least - 1, -1):
        if step_gib(plan.model_copy(update={"batch_size": batch}), budget) <= budget.step_gib:
            return f"nearest that fits: --set batch_size={batch}"
    size = plan.crop_size
    while any(n > d for n, d in zip(size, plan.network.divisor, strict=True)):
        size = _smaller(size, plan.network.divisor)
        smaller = plan.model_copy(update={"batch_size": least, "crop_size": size})
        if step_gib(smaller, budget) <= budget.step_gib:
            return f"nearest that fits: --set batch_size={least} --set crop_size={list(size)}".replace(", ", ",")
    return "no crop fits; take a smaller network"


def _smaller(size: Voxels, divisor: Voxels) -> Voxels:
    """Take one step of the poolings off the longest axis that can give it."""
    longest = max((n, axis) for axis, (n, d) in enumerate(zip(size, divisor, strict=True)) if n > d)[1]
    z, y, x = (n - d if axis == longest else n for axis, (n, d) in enumerate(zip(size, divisor, strict=True)))
    return z, y, x


def _on_one_grid(plan: Plan, found: Fingerprint, settings: Mapping[str, str]) -> Plan:
    """Bring spacing and downsampling together again after one of them was set; the spacing governs."""
    if plan.spacing_mm is None:
        return plan
    median = found.median_spacing_mm
    if "downsampling" in settings and "spacing_mm" not in settings:
        z, y, x = (f * m for f, m in zip(plan.downsampling, median, strict=True))
        return plan.model_copy(update={"spacing_mm": (z, y, x)})
    return plan.model_copy(update={"downsampling": ratio(plan.spacing_mm, median)})
