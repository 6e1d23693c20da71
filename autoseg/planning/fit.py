"""A plan fitted to the user's settings, to the memory that its step is measured to take, and to the time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.errors import PlanError
from autoseg.imaging.grid import Voxels
from autoseg.machine import default_workers
from autoseg.network.build import require_known
from autoseg.options import PlanOptions
from autoseg.plan import Plan
from autoseg.planning.budget import Budget, StepCost, batch_bytes, share_of, step_gib
from autoseg.planning.planner import Cost, Decision
from autoseg.planning.recipe import (
    CPU_TRAINING_S,
    ENOUGH_ITERATIONS,
    MANY_ITERATIONS,
    grid_of,
    learning_rate_of,
    optimiser_of,
    ratio,
    working_median,
)
from autoseg.planning.requirements import (
    nearest_fit,
    require_crops,
    require_indexable,
    require_sensible_grid,
    require_sides,
)
from autoseg.planning.slowness import FEWEST_ITERATIONS, warn_of_few, warn_of_others
from autoseg.settings import WRITE_SETTING, asked, with_settings

ITERATIONS_SHARE = 0.9  # of a time budget; the rest goes into examinations and checkpoints
# what makes a step the user's own: it is then measured, but not derived again
STEP_KEYS = {"spacing_mm", "downsampling", "crop_size", "batch_size", "network", "precision"}
FINER = "finer."  # before the key of a setting of a second stage
SMALLEST_STEP = 50_000  # crop voxels x batch; it is made no smaller
ATTEMPTS = 4  # at a plan whose measured step fits memory and time
Derive = Callable[[Budget, Cost], Decision]
Measure = Callable[[Plan, Voxels, int, int], StepCost | None]  # of a plan, a median volume, workers, processes
TIGHTER = 1.25  # how much more a step is taken to need after one that did not fit at all


@dataclass(frozen=True, kw_only=True)
class FittedPlan:
    """A plan that is final."""

    decision: Decision
    budget: Budget  # with the voxels that a step may have in the end
    measured: StepCost | None  # None where nothing was measured
    training_s: float | None = None  # that the steps fit; None: their number does not follow from the time
    corrected: bool = False  # whether the measured memory made the plan smaller


def fit_plan(
    decision: Decision,
    fingerprint: Fingerprint,
    budget: Budget,
    derive: Derive,
    options: PlanOptions,
    measure: Measure | None,
) -> FittedPlan:
    """Apply the user's settings; measure where that is wanted or a CPU plan needs it; fix the iterations.

    Args:
        decision: What was derived.
        fingerprint: The dataset in numbers.
        budget: Device and memory.
        derive: Derives a plan for another budget or cost, where a measured step does not fit memory or time.
        options: What the user asks.
        measure: Runs iterations of a plan; None: it is for another machine.

    Raises:
        PlanError: If a setting is not valid or does not fit the memory; the text proposes the nearest that does.
    """
    decision = apply_settings(decision, fingerprint, budget, options.settings)
    derived = decision.chosen is not None
    training_s = _training_s(options, CPU_TRAINING_S if derived and budget.device == "cpu" else None)
    if measure is None or not (options.measure or training_s):
        return FittedPlan(decision=_final(decision, options), budget=budget, measured=None)
    fitting = _Fitting(
        fingerprint=fingerprint,
        budget=budget,
        derive=derive,
        settings=options.settings,
        measure=measure,
        training_s=training_s,
        least=FEWEST_ITERATIONS if options.time_budget_s is None else 1,
    )
    own_step = STEP_KEYS & {key.partition(".")[0] for key in options.settings}
    fitted = fitting.until_it_fits(decision) if derived and not own_step else fitting.as_it_is(decision)
    return replace(fitted, decision=_final(fitted.decision, options))


def _final(decision: Decision, options: PlanOptions) -> Decision:
    """Return the decision of the length that is asked for, and where it is derived with what follows from that."""
    decision = _of_length(decision, options)
    if decision.chosen is None:
        return decision
    plan = _with_optimiser(decision.plan, options.settings)
    if "learning_rate" not in options.settings:
        plan = plan.model_copy(update={"learning_rate": learning_rate_of(plan.iterations)})
    return replace(decision, plan=plan)


def _with_optimiser(plan: Plan, settings: Mapping[str, str]) -> Plan:
    """Return a derived plan with the optimiser that follows from its length, if the user names none."""
    if {"optimiser", "optimiser.name"} & set(settings):
        return plan
    optimiser = plan.optimiser.model_copy(update={"name": optimiser_of(plan.iterations)})
    return plan.model_copy(update={"optimiser": optimiser})


def _training_s(options: PlanOptions, usual_s: float | None) -> float | None:
    """Return the time that the steps are to fit; None: their number does not follow from it."""
    if "iterations" in options.settings or options.iterations is not None:
        return None
    return usual_s if options.time_budget_s is None else ITERATIONS_SHARE * options.time_budget_s


def _of_length(decision: Decision, options: PlanOptions) -> Decision:
    """Return the decision with the iterations that the user gives, if any, in every stage; a setting goes before."""
    given = options.settings.get("iterations", options.iterations)
    if given is None:
        return decision
    keys = ("iterations",) if decision.plan.finer is None else ("iterations", f"{FINER}iterations")
    lengths = {key: str(given) for key in keys if key not in options.settings}
    return replace(decision, plan=with_settings(decision.plan, lengths)) if lengths else decision


@dataclass(frozen=True, kw_only=True)
class _Fitting:
    """Fits a plan to memory and time by measuring it."""

    fingerprint: Fingerprint
    budget: Budget
    derive: Derive
    settings: Mapping[str, str]
    measure: Measure
    training_s: float | None
    least: int  # iterations

    def as_it_is(self, decision: Decision) -> FittedPlan:
        """Measure, and give the plan the iterations that fit; its step stays.

        Raises:
            PlanError: If it does not fit the memory.
        """
        cost = self._cost(decision.plan)
        fitted = None if cost is None else self._fitted(decision, self.budget, cost)
        if fitted is None:
            way_out = nearest_fit(decision.plan, self.budget)
            raise PlanError(f"a step of this plan does not fit this {self.budget.device}; {way_out}")
        return fitted

    def until_it_fits(self, decision: Decision) -> FittedPlan:
        """Measure; derive again while a step takes more memory than it may, and once where too few fit the time.

        Raises:
            PlanError: If no plan fits in ATTEMPTS.
        """
        allowed, correction = self.budget, 1.0
        for attempt in range(1, ATTEMPTS + 1):
            cost = self._cost(decision.plan)
            if cost is not None and cost.gib <= self.budget.step_gib:
                quicker = self._quicker(decision.plan, cost)
                if quicker is not None and allowed is self.budget and attempt < ATTEMPTS:
                    allowed = quicker
                elif (fitted := self._fitted(decision, allowed, cost)) is not None:
                    return replace(fitted, corrected=correction > 1)
                else:
                    correction *= TIGHTER
            else:
                correction *= TIGHTER if cost is None else max(1.02, cost.gib / decision.step_gib)
            decision = self._again(allowed, partial(_corrected, correction))
        raise PlanError("no plan was found whose measured step fits; give --gpu-memory, or --set batch_size=1")

    def _again(self, budget: Budget, cost: Cost) -> Decision:
        """Derive a plan and give it the user's settings again; its memory stays as it was derived."""
        derived = self.derive(budget, cost)
        decision = apply_settings(derived, self.fingerprint, budget, self.settings)
        return replace(decision, step_gib=derived.step_gib)

    def _cost(self, plan: Plan) -> StepCost | None:
        """Measure the share of a step that one process has; None: it does not fit."""
        processes = self.budget.processes
        shape = working_median(plan, self.fingerprint)
        workers = default_workers(processes, plan.device, batch_bytes(plan, processes))
        return self.measure(share_of(plan, processes), shape, workers, processes)

    def _quicker(self, plan: Plan, cost: StepCost) -> Budget | None:
        """Return the budget with so few crops a step, or voxels, that enough iterations fit the time; None: they do."""
        if self.training_s is None or self.budget.step_voxels is None:
            return None
        crops = plan.batch_size * self.training_s / cost.seconds_per_iteration  # that fit the time
        batch = min(plan.batch_size, max(2, self.budget.processes, int(crops / MANY_ITERATIONS)))
        fewer = replace(self.budget, cpu_batch=batch) if batch < plan.batch_size else self.budget
        if crops < ENOUGH_ITERATIONS * batch:
            voxels = round(crops * math.prod(plan.crop_size) / ENOUGH_ITERATIONS)
            fewer = replace(fewer, cpu_step_voxels=max(SMALLEST_STEP, voxels))
        return None if fewer == self.budget else fewer

    def _fitted(self, decision: Decision, budget: Budget, cost: StepCost) -> FittedPlan | None:
        """Return the plan with the iterations that fit the time, if that decides them.

        Where another optimiser follows from their number than was measured, its step is measured, too; None: it does
        not fit the memory.
        """
        if self.training_s is not None:
            decision = self._of_time(decision, self.training_s, cost)
            following = _with_optimiser(decision.plan, self.settings)
            if decision.chosen is not None and following != decision.plan:
                own = self._cost(following)
                if own is None or own.gib > self.budget.step_gib:
                    return None
                cost, decision = own, self._of_time(replace(decision, plan=following), self.training_s, own)
        return FittedPlan(decision=decision, budget=budget, measured=cost, training_s=self.training_s)

    def _of_time(self, decision: Decision, training_s: float, cost: StepCost) -> Decision:
        iterations = max(self.least, int(training_s / cost.seconds_per_iteration))
        return replace(decision, plan=decision.plan.model_copy(update={"iterations": iterations}))


def warn_of_time(fitted: FittedPlan) -> None:
    """Say where the measured time leaves a plan few iterations, or other programs took a part of it."""
    if fitted.training_s is not None and fitted.measured is not None:
        warn_of_others(fitted.measured, "plan again with --force")
        warn_of_few(fitted.decision.plan.iterations, fitted.measured.seconds_per_iteration)


def _corrected(correction: float, plan: Plan, budget: Budget) -> float:
    return correction * step_gib(plan, budget)


def apply_settings(
    decision: Decision, fingerprint: Fingerprint, budget: Budget, settings: Mapping[str, str]
) -> Decision:
    """Return the decision with the user's settings.

    Raises:
        PlanError: If one is not valid or the step no longer fits the memory.
    """
    if "device" in settings:
        raise PlanError(f"--set device={settings['device']}: give it as --device, as memory and widths follow from it")
    plan = decision.plan
    if settings:
        plan = require_known(with_settings(plan, dict(settings)), asked(settings), WRITE_SETTING)
        plan = _on_one_grid(plan, fingerprint, settings)
    require_sensible_grid(plan, fingerprint)
    require_sides(plan)
    require_crops(plan, budget.processes)
    cause = " ".join(f"--set {key}={value}" for key, value in settings.items()) or f"preset {plan.preset or ''}"
    gib = _require_memory(plan, budget, f"{cause}: a step")
    if plan.finer is not None:  # of a preset, which nothing else holds against the memory
        require_crops(plan.finer, budget.processes)
        _require_memory(plan.finer, budget, f"{cause}: a step of the second stage", FINER)
    if decision.chosen is not None and {"spacing_mm", "downsampling"} & set(settings):
        decision = replace(decision, chosen=grid_of(plan, fingerprint), rejected=(), finer_for=())
    elif decision.chosen is None:
        decision = replace(decision, grids=(grid_of(plan, fingerprint),))
    return replace(decision, plan=plan, step_gib=gib, changed=tuple(settings))


def _require_memory(plan: Plan, budget: Budget, step: str, prefix: str = "") -> float:
    """Return the memory of a step in GiB, if it fits.

    Args:
        plan: Of one stage.
        budget: That it must fit.
        step: What the user asked for, to begin the message with.
        prefix: Of the keys of the plan in the way out.

    Raises:
        PlanError: If it does not; the text proposes the nearest that does.
    """
    gib = step_gib(plan, budget)
    if gib > budget.step_gib:
        way_out = nearest_fit(plan, budget, prefix)
        raise PlanError(
            f"{step} would take {gib:.1f} GiB, {budget.step_gib:.1f} of the {budget.memory_gib:.1f} GiB are for it; "
            f"{way_out}"
        )
    require_indexable(plan, budget, prefix)
    return gib


def _on_one_grid(plan: Plan, fingerprint: Fingerprint, settings: Mapping[str, str]) -> Plan:
    """Bring spacing and downsampling together again after one of them was set; the spacing governs."""
    if plan.spacing_mm is None:
        return plan
    median = fingerprint.median_spacing_mm
    if "downsampling" in settings and "spacing_mm" not in settings:
        z, y, x = (f * m for f, m in zip(plan.downsampling, median, strict=True))
        return plan.model_copy(update={"spacing_mm": (z, y, x)})
    return plan.model_copy(update={"downsampling": ratio(plan.spacing_mm, median)})
