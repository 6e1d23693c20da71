"""The plan of a second stage: the organs that the first one's grid costs too much, seen finely in a box around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoseg.dataset.examine import CaseFacts
from autoseg.dataset.fingerprint import Fingerprint, fingerprint
from autoseg.errors import PlanError
from autoseg.imaging.grid import Voxels
from autoseg.labels import Label
from autoseg.options import PlanOptions
from autoseg.plan import Plan, first_seen
from autoseg.planning.budget import Budget, step_gib
from autoseg.planning.fit import FittedPlan, Measure, fit_plan
from autoseg.planning.planner import Ceilings, Cost, Decision, Planner, derive_plan
from autoseg.planning.recipe import PROBABILITY
from autoseg.planning.rules import CEILING, SECOND_STAGE, WORTH, WorkingGrid
from autoseg.words import joined

LEAST_GAIN = 0.01  # of the ceiling, that an organ must have from the finer grid
MARGIN_VOXELS = 3  # of the first stage's working grid, that a box shows around its organs at least


@dataclass(frozen=True, kw_only=True)
class SecondPlan:
    """The plan of a second stage, and why it is worth it."""

    fitted: FittedPlan
    box: Voxels  # the median one, voxels of the median image (Z, Y, X)
    before: Mapping[str, float]  # ceiling of each of its organs on the first stage's grid
    after: Mapping[str, float]  # on its own
    without_gain: tuple[str, ...]  # organs that a finer grid would not help

    @property
    def plan(self) -> Plan:
        """The plan itself."""
        return self.fitted.decision.plan

    @property
    def grid(self) -> WorkingGrid:
        """Its working grid."""
        return self.fitted.decision.chosen or self.fitted.decision.grids[0]


def second_plan(
    first: Decision,
    planner: Planner,
    facts: Sequence[CaseFacts],
    budget: Budget,
    options: PlanOptions,
    measure: Measure | None,
) -> SecondPlan:
    """Choose organs, grid, crop and length of a second stage.

    Args:
        first: The first stage's plan, its ceilings measured by the planner.
        planner: Knows the dataset, and measures ceilings.
        facts: Of the cases that may decide.
        budget: Device and memory.
        options: What the user asks of this stage.
        measure: Runs iterations of a plan; None: it is for another machine.

    Raises:
        PlanError: If no organ gains by it, or no finer grid fits.
    """
    choice = _choose(first, planner, facts, budget, options.seed)
    fitted = fit_plan(choice.decision, choice.boxed, budget, choice.derive, options, measure)
    if fitted.decision.plan.spacing_mm is None:
        raise PlanError(
            "--set finer.spacing_mm=null: a second stage has one grid for all images, on which its gain is known; "
            "give a spacing, or leave it out"
        )
    grid = fitted.decision.chosen or fitted.decision.grids[0]
    planner.measure([grid], first.plan)  # settings or the time may have chosen another
    after = _left_of(choice.organs, planner, grid)
    if not any(after[organ] - choice.before[organ] >= LEAST_GAIN for organ in after):
        raise PlanError(
            f"--stages 2: no organ's ceiling rises on a grid of {joined(grid.spacing_mm)} mm, which settings and time "
            "leave to the second stage; set finer.spacing_mm finer, give more time, or plan with --stages 1"
        )
    return SecondPlan(
        fitted=fitted,
        box=choice.boxed.median_shape,
        before=choice.before,
        after=after,
        without_gain=tuple(organ.name for organ in choice.without_gain),
    )


def second_gain(first: Decision, planner: Planner, facts: Sequence[CaseFacts], budget: Budget, seed: int) -> str:
    """Return what a second stage would gain where the grid of one costs organs more than a tenth; else nothing.

    Organs count that a second stage's grid does not cost a tenth, too.

    Args:
        first: A plan of one stage, its ceilings measured by the planner.
        planner: As for `second_plan`.
        facts: As for `second_plan`.
        budget: As for `second_plan`.
        seed: Of the plan.
    """
    own = first.chosen or first.grids[0]
    known = planner.ceilings.get(own.spacing_mm, ())
    is_preset = first.chosen is None
    if is_preset or budget.processes > 1 or not any(dice is not None and dice < CEILING for dice in known):
        return ""
    try:
        choice = _choose(first, planner, facts, budget, seed)
    except PlanError:
        return ""
    return gain_between(choice.before, choice.after, choice.grid)


def gain_between(before: Mapping[str, float], after: Mapping[str, float], grid: WorkingGrid) -> str:
    """Return which organs a grid does not cost a tenth that another one does; empty where there are none."""
    organs = [name for name, dice in after.items() if before[name] < CEILING <= dice]
    rises = ", ".join(f"{name} {100 * before[name]:.1f} → {100 * after[name]:.1f}" for name in organs)
    return f"in a box at {joined(grid.spacing_mm)} mm, ceilings rise (Dice, %): {rises}" if organs else ""


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """Organs and grid of a second stage."""

    deriving: _Deriving
    organs: Sequence[Label]
    margin_mm: float
    boxed: Fingerprint  # of the boxes around the organs
    decision: Decision
    grid: WorkingGrid
    before: Mapping[str, float]
    after: Mapping[str, float]
    without_gain: Sequence[Label]

    def derive(self, budget: Budget, cost: Cost) -> Decision:
        """Return the plan for another budget or cost."""
        return self.deriving.derive(self.boxed, self.organs, self.margin_mm, budget, cost)


def _choose(first: Decision, planner: Planner, facts: Sequence[CaseFacts], budget: Budget, seed: int) -> _Choice:
    """Choose organs and grid; errors as of `second_plan`."""
    _require_second_possible(first.plan)
    own, dataset = first.chosen or first.grids[0], planner.dataset
    ceilings = dict(zip(dataset.labels, planner.ceilings[own.spacing_mm], strict=True))
    organs = _low(ceilings)
    if not organs:
        raise PlanError(
            f"--stages 2: the grid of the first stage leaves every organ {WORTH:.0%} of its Dice or more, so there is "
            "nothing to gain; plan with --stages 1"
        )
    margin_mm = round(MARGIN_VOXELS * max(own.spacing_mm), 1)
    deriving = _Deriving(first.plan, own, planner, facts, seed)
    without_gain: list[Label] = []
    while True:
        boxed = deriving.boxed(organs, margin_mm)
        decision = deriving.heeding_ceilings(boxed, organs, margin_mm, budget)
        grid = decision.chosen or decision.grids[0]
        if not math.prod(grid.spacing_mm) < math.prod(own.spacing_mm):
            raise PlanError("--stages 2: no grid finer than the first stage's fits the memory; plan with --stages 1")
        finer = dict(zip(dataset.labels, planner.ceilings[grid.spacing_mm], strict=True))
        gaining = [organ for organ in organs if (finer[organ] or 0.0) - (ceilings[organ] or 0.0) >= LEAST_GAIN]
        if gaining == organs:
            break
        without_gain += [organ for organ in organs if organ not in gaining]
        organs = gaining
        if not organs:
            raise PlanError("--stages 2: no organ's ceiling rises on a finer grid that fits; plan with --stages 1")
    return _Choice(
        deriving=deriving,
        organs=organs,
        margin_mm=margin_mm,
        boxed=boxed,
        decision=decision,
        grid=grid,
        before=_left_of(organs, planner, own),
        after=_left_of(organs, planner, grid),
        without_gain=without_gain,
    )


def _left_of(organs: Sequence[Label], planner: Planner, grid: WorkingGrid) -> dict[str, float]:
    """Return the Dice that a measured grid leaves of some organs."""
    left = dict(zip(planner.dataset.labels, planner.ceilings[grid.spacing_mm], strict=True))
    return {organ.name: left[organ] or 0.0 for organ in organs}


def _require_second_possible(first: Plan) -> None:
    """Refuse plans behind which there can be no second stage.

    Raises:
        PlanError: If it is one.
    """
    if first.scheme.overlapping:
        raise PlanError("--stages 2: the organs are regions that overlap, which a second stage does not know yet")
    if first.flat_axis is not None:
        raise PlanError("--stages 2: images that are planned in 2D have one stage; plan with --stages 1")
    if first.spacing_mm is None:
        raise PlanError(
            "--stages 2: the first stage has a grid of its own for each image (spacing_mm null), and a second needs a "
            "spacing to be finer than; leave --set spacing_mm=null out, or plan with --stages 1"
        )


def _low(ceilings: Mapping[Label, float | None]) -> list[Label]:
    """Return the organs whose ceiling is below CEILING; where there is none, those below WORTH."""
    for limit in (CEILING, WORTH):
        if low := [organ for organ, dice in ceilings.items() if dice is not None and dice < limit]:
            return low
    return []


@dataclass(frozen=True)
class _Deriving:
    """Derives plans for boxes around organs."""

    first: Plan
    grid: WorkingGrid  # of the first stage
    planner: Planner
    facts: Sequence[CaseFacts]
    seed: int

    def boxed(self, organs: Sequence[Label], margin_mm: float) -> Fingerprint:
        """Return the fingerprint of the boxes around some organs, as if they were the images."""
        of_organs = replace(self.planner.dataset, labels=tuple(organs))
        return fingerprint(
            of_organs, [box for one in self.facts if (box := _boxed(one, organs, margin_mm)) is not None]
        )

    def heeding_ceilings(
        self, boxed: Fingerprint, organs: Sequence[Label], margin_mm: float, budget: Budget
    ) -> Decision:
        """Return a plan on the finest grid that fits, or on a coarser one that leaves organs enough; all measured."""
        while True:
            decision = self.derive(boxed, organs, margin_mm, budget, step_gib)
            grid = decision.chosen or decision.grids[0]
            voxel = math.prod(self.grid.spacing_mm)
            coarser = [one for one in decision.grids if grid.is_finer_than(one) and math.prod(one.spacing_mm) < voxel]
            unknown = [one for one in (grid, *coarser[:1]) if one.spacing_mm not in self.planner.ceilings]
            if not unknown:
                return decision
            self.planner.measure(unknown, self.first)

    def _ceilings(self, organs: Sequence[Label]) -> Ceilings:
        """Return what grids, as far as they are measured, leave of some organs."""
        places = [self.planner.dataset.labels.index(organ) for organ in organs]
        return {mm: tuple(dices[place] for place in places) for mm, dices in self.planner.ceilings.items()}

    def derive(
        self, boxed: Fingerprint, organs: Sequence[Label], margin_mm: float, budget: Budget, cost: Cost
    ) -> Decision:
        """Return a plan for the boxes, with the first stage's probabilities among its channels."""

        def with_channels(plan: Plan) -> Plan:
            seen = tuple(first_seen(organ) for organ in organs)
            return plan.model_copy(
                update={
                    "channels": (*self.first.channels, *seen),
                    "intensity": (*self.first.intensity, *[PROBABILITY] * len(seen)),
                    "margin_mm": margin_mm,
                }
            )

        def costing(plan: Plan, budget: Budget) -> float:
            return cost(with_channels(plan), budget)

        before = _left_of(organs, self.planner, self.grid).values()
        enough = tuple(max(WORTH, left + LEAST_GAIN) for left in before)
        decision = derive_plan(
            boxed,
            budget,
            self.seed,
            self._ceilings(organs),
            costing,
            sight=replace(SECOND_STAGE, enough=enough),
            may_be_flat=False,  # as the images are not
        )
        return replace(decision, plan=with_channels(decision.plan))


def _boxed(facts: CaseFacts, organs: Sequence[Label], margin_mm: float) -> CaseFacts | None:
    """Return the facts of the box around some organs of a case; None where it has none of them."""
    values = {organ.value for organ in organs}
    present = [organ for organ in facts.organs if organ.value in values]
    if not present:
        return None
    starts, stops = np.moveaxis(np.array([organ.box for organ in present]), 2, 0)
    margin = np.ceil(margin_mm / np.array(facts.grid.spacing_mm)).astype(int)
    first = np.maximum(starts.min(axis=0) - margin, 0)
    last = np.minimum(stops.max(axis=0) + margin, facts.grid.shape)
    z, y, x = (int(n) for n in last - first)
    corner = (int(first[0]), int(first[1]), int(first[2]))
    moved = tuple(organ.moved(corner) for organ in present)
    return replace(facts, grid=replace(facts.grid, shape=(z, y, x)), organs=moved)
