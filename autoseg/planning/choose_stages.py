"""One stage or two: as many as the user asks for, else two where the grid of one costs organs much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autoseg.dataset.examine import CaseFacts
from autoseg.errors import PlanError
from autoseg.options import PlanOptions
from autoseg.plan import parse_plan
from autoseg.planning.budget import Budget
from autoseg.planning.fit import FittedPlan, Measure, fit_plan, warn_of_time
from autoseg.planning.planner import Ceilings, Decision, Planner
from autoseg.planning.recipe import ENOUGH_ITERATIONS
from autoseg.planning.rules import CEILING, FIRST_STAGE
from autoseg.planning.second_plan import SecondPlan, gain_between, second_gain, second_plan
from autoseg.planning.stages import budgets_of_stages, options_of_stages


@dataclass(frozen=True, kw_only=True)
class FittedStages:
    """A plan of one stage or two that is final."""

    decision: Decision  # its plan has the second stage
    first: FittedPlan  # alone
    ceilings: Ceilings  # of the first one's grid, and of the next finer ones
    second: SecondPlan | None = None


@dataclass(frozen=True, kw_only=True)
class StagesChoice:
    """Fits a plan of one stage or two to the user's settings, the memory and the time."""

    planner: Planner  # of one stage
    facts: Sequence[CaseFacts]  # of the cases that may decide
    budget: Budget
    options: PlanOptions
    measure: Measure | None  # runs iterations of a plan; None: it is for another machine
    derive: Callable[[], Decision]  # the plan of one stage, not yet fitted

    def fitted(self) -> FittedStages:
        """Return the plan of as many stages as the user asks for; else of two where one costs organs much.

        Raises:
            PlanError: If no valid plan can be made, or a second stage that the user asks for gains nothing.
        """
        fitted = self._two() if self.options.stages == 2 else self._one_or_two()
        for stage in (fitted.first, *([] if fitted.second is None else [fitted.second.fitted])):
            warn_of_time(stage)
        return fitted

    def _one_or_two(self) -> FittedStages:
        """Return the plan of one stage, or of two where one costs organs much and the user leaves it to the planner."""
        one = self._one()
        decision, gain = one.decision, self._gain(one.decision)
        if not gain:
            return one
        advice = f"with a second stage, {gain}; plan with --stages 2 to have it, {self._price(one.first)}"
        if self._is_ours():
            try:
                two = self._two()
                if not (objection := self._objection(one, two)):
                    return replace(two, decision=replace(two.decision, two_for=self._gained(one, two)))
                advice = f"with a second stage, {gain}; it was tried: {objection}"
            except PlanError as error:
                advice = f"with a second stage, {gain}; it was tried: {error}"
        return replace(one, decision=replace(decision, advice=(advice,)))

    def _is_ours(self) -> bool:
        """Return whether the user leaves the number of stages and all that is of either to the planner."""
        return self.options.stages is None and self.options.iterations is None and not self.options.settings

    def _price(self, one: FittedPlan) -> str:
        """Return how long the stages of two would train."""
        if one.training_s is not None:
            return "each stage then trains for half of the time"
        if self.options.iterations is not None or "iterations" in self.options.settings:
            return "each stage then trains for so many iterations"
        return "each stage then trains for half of the iterations"

    def _objection(self, one: FittedStages, two: FittedStages) -> str:
        """Return why two stages are not taken, as they came out once their steps were measured; empty: they are."""
        stages = two.decision.plan.stages
        if two.first.training_s is not None and min(stage.iterations for stage in stages) < ENOUGH_ITERATIONS:
            return f"each of its stages would have fewer than {ENOUGH_ITERATIONS} iterations; give more time"
        if not self._gained(one, two):
            return "its step leaves no such grid"
        before, after = self._left(one), self._left(two)
        if lost := [name for name, dice in before.items() if dice >= CEILING > after[name]]:
            return f"the grids of both would cost more than a tenth of {', '.join(lost)}"
        return ""

    def _gained(self, one: FittedStages, two: FittedStages) -> str:
        """Return what the second of two stages gains over one stage, on the grid that it has in the end."""
        return "" if two.second is None else gain_between(self._left(one), two.second.after, two.second.grid)

    def _left(self, stages: FittedStages) -> dict[str, float]:
        """Return the Dice that a plan's grids leave of each organ that occurs."""
        own = stages.first.decision.chosen or stages.first.decision.grids[0]
        known = zip(self.planner.dataset.labels, stages.ceilings[own.spacing_mm], strict=True)
        left = {organ.name: dice for organ, dice in known if dice is not None}
        return left | (dict(stages.second.after) if stages.second is not None else {})

    def _gain(self, one: Decision) -> str:
        """Return what a second stage would gain, unless the user wants none."""
        if self.options.stages == 1:
            return ""
        return second_gain(one, self.planner, self.facts, budgets_of_stages(self.budget)[1], self.options.seed)

    def _one(self) -> FittedStages:
        """Return the plan of one stage."""
        planner = self.planner
        fitted = fit_plan(self.derive(), planner.fingerprint, self.budget, planner.derive, self.options, self.measure)
        ceilings = planner.measure_grids(fitted.decision)
        return FittedStages(decision=fitted.decision, first=fitted, ceilings=ceilings)

    def _two(self) -> FittedStages:
        """Return the plan of two stages; errors as of `fitted`."""
        options, later_options = options_of_stages(self.options, self.budget.device == "cpu")
        budget, later_budget = budgets_of_stages(self.budget)
        planner = replace(self.planner, sight=FIRST_STAGE)
        first = fit_plan(planner.derive(budget), planner.fingerprint, budget, planner.derive, options, self.measure)
        ceilings = planner.measure_grids(first.decision)
        second = second_plan(first.decision, planner, self.facts, later_budget, later_options, self.measure)
        whole = first.decision.plan.model_copy(update={"finer": second.plan})
        plan = parse_plan(whole.model_dump_json(), "--stages 2")
        decision = replace(first.decision, plan=plan)
        return FittedStages(decision=decision, first=first, ceilings=ceilings, second=second)
