"""The planner: from fingerprint and budget to a plan, by what its grid and finer ones leave of each organ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.dataset.load import Dataset
from autoseg.errors import PlanError
from autoseg.imaging.grid import Triple, Voxels
from autoseg.network.memory import is_indexable
from autoseg.plan import Plan
from autoseg.planning import rules
from autoseg.planning.budget import Budget, share_of, step_gib
from autoseg.planning.ceiling import dataset_ceilings
from autoseg.planning.recipe import default_plan
from autoseg.planning.rules import ONE_STAGE, Sight, WorkingGrid
from autoseg.pool import Crew, Track

MEASURED_FINER = 2  # working grids finer than the chosen one whose ceilings are measured
Cost = Callable[[Plan, Budget], float]  # GiB of a training step
Ceilings = Mapping[Triple, tuple[float | None, ...]]  # spacing of a grid: Dice that the grid leaves, one an organ


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A finer working grid, and what it would have needed."""

    grid: WorkingGrid
    crop: Voxels  # the smallest that sees enough (Z, Y, X)
    gib: float | None  # of a step of the smallest batch of it; None: its voxels alone are too many for a CPU


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A plan and what else was considered."""

    plan: Plan
    grids: tuple[WorkingGrid, ...]  # finest first
    chosen: WorkingGrid | None  # None under a preset
    step_gib: float  # predicted memory of a training step
    rejected: tuple[Rejected, ...] = ()  # finer than the chosen, finest first
    finer_for: tuple[str, ...] = ()  # organs for whose sake the crop sees less than usual
    changed: tuple[str, ...] = ()  # keys that the user set
    advice: tuple[str, ...] = ()  # sentences on what else the user might plan
    two_for: str = ""  # what the second of two stages gains, where the user has not asked for it


def derive_plan(
    fingerprint: Fingerprint,
    budget: Budget,
    seed: int,
    ceilings: Ceilings | None = None,
    cost: Cost = step_gib,
    *,
    sight: Sight = ONE_STAGE,
    may_be_flat: bool = True,
) -> Decision:
    """Derive downsampling factor, crop size, batch size and network.

    The finest working grid is taken on which a crop that sees enough of the body fits the budget; where that grid
    costs an organ more than a tenth of its Dice, finer ones on which the crop sees a little less. The crop is then the
    largest that fits with the smallest batch, and the batch grows only when the crop is the whole volume. More memory
    therefore never gives a coarser grid, nor on the same grid fewer voxels a step.

    Args:
        fingerprint: The dataset in numbers.
        budget: Device and memory.
        seed: Goes into the plan.
        ceilings: The Dice that each measured grid leaves of each organ.
        cost: Memory of a step of a plan.
        sight: What a crop must see, and which grid is fine enough.
        may_be_flat: Whether few thick slices are seen one by one.

    Raises:
        PlanError: If not even the coarsest grid fits the budget.
    """
    search = _CropSearch(fingerprint=fingerprint, budget=budget, seed=seed, cost=cost)
    spacing_mm, shape = fingerprint.median_spacing_mm, fingerprint.median_shape
    flat = rules.flat_axis(shape, spacing_mm) if may_be_flat else None
    grids = rules.working_grids(spacing_mm, shape, flat)
    fine_enough = [
        n for n, one in enumerate(grids) if sight.enough and rules.leaves_enough(ceilings, one.spacing_mm, sight.enough)
    ]
    finest = max(fine_enough, default=0)
    fitting = ((number, search.largest(grids[number], sight.cover)) for number in range(finest, len(grids)))
    usual, plan = next(((number, plan) for number, plan in fitting if plan is not None), (0, None))
    if plan is None:
        raise PlanError(
            f"{budget.memory_gib:.1f} GiB are too little even at a downsampling of {rules.FACTORS[-1]:g}; "
            + ("free some memory" if budget.device == "cpu" else "plan for more with --gpu-memory, or for --device cpu")
        )
    number, low_organs = usual, set[int]()
    while number and (low := rules.low_ceilings(ceilings, grids[number].spacing_mm)):
        finer = search.largest(grids[number - 1], sight.least_cover) if number > finest else None
        if finer is None:
            break
        plan, number, low_organs = finer, number - 1, low_organs.union(low)
    cover = sight.cover if number == usual else sight.least_cover
    plan = search.with_fuller_batch(plan, grids[number])
    return Decision(
        plan=plan,
        grids=grids,
        chosen=grids[number],
        step_gib=cost(plan, budget),
        rejected=tuple(search.demand_of(grid, cover) for grid in grids[finest:number]),
        finer_for=tuple(fingerprint.organs[n].name for n in sorted(low_organs)),
    )


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Derives plans for one dataset; a grid's ceilings are measured once, when a plan may take it."""

    fingerprint: Fingerprint
    seed: int
    dataset: Dataset  # the cases that may decide on the plan
    crew: int | Crew
    track: Track
    sight: Sight = ONE_STAGE
    ceilings: dict[Triple, tuple[float | None, ...]] = field(default_factory=dict)  # by a grid's spacing, one an organ

    def derive(self, budget: Budget, cost: Cost = step_gib) -> Decision:
        """Return the plan that heeds what its grid and the next finer ones, once measured, leave of each organ.

        Raises:
            PlanError: If not even the coarsest grid fits the budget.
        """
        self.measure_grids(derive_plan(self.fingerprint, budget, self.seed, self.ceilings, cost, sight=self.sight))
        return derive_plan(self.fingerprint, budget, self.seed, self.ceilings, cost, sight=self.sight)

    def measure_grids(self, decision: Decision) -> Ceilings:
        """Return the ceilings of a decision's grid and of the next finer ones, measured unless they were before."""
        own, plan = decision.chosen or decision.grids[0], decision.plan
        finer = [grid for grid in decision.grids if grid.is_finer_than(own)]
        grids = (*finer[-MEASURED_FINER:], own)
        self.measure(grids, plan)
        return {grid.spacing_mm: self.ceilings[grid.spacing_mm] for grid in grids}

    def measure(self, of: Sequence[WorkingGrid], plan: Plan) -> None:
        """Measure the ceilings of grids, unless they were measured before; the plan says how an image is divided."""
        grids = [grid for grid in of if grid.spacing_mm not in self.ceilings]
        if not grids:
            return
        spacings = [None if plan.spacing_mm is None else grid.spacing_mm for grid in grids]
        cases, scheme = self.dataset.cases, self.dataset.scheme
        factors, flat = plan.downsampling, plan.flat
        by_organ = dataset_ceilings(cases, scheme, spacings, factors, self.crew, self.track, flat)
        self.ceilings.update(zip((grid.spacing_mm for grid in grids), zip(*by_organ, strict=True), strict=True))


@dataclass(frozen=True, kw_only=True)
class _CropSearch:
    """The search for crops and batches that fit the budget."""

    fingerprint: Fingerprint
    budget: Budget
    seed: int
    cost: Cost

    def largest(self, grid: WorkingGrid, cover: float) -> Plan | None:
        """Return the plan with the largest crop that fits and sees enough; None if no crop does."""
        crops = [crop for crop in self._sufficient(grid, cover) if self._affordable(crop)]
        if not crops or not self._fits(self._plan(grid, crops[-1])):
            return None
        return next(plan for plan in (self._plan(grid, crop) for crop in crops) if self._fits(plan))

    def demand_of(self, grid: WorkingGrid, cover: float) -> Rejected:
        """Return what a crop that sees enough of a grid would need."""
        least = self._plan(grid, self._sufficient(grid, cover)[-1])
        gib = self.cost(least, self.budget) if self._affordable(least.crop_size) else None
        return Rejected(grid=grid, crop=least.crop_size, gib=gib)

    def with_fuller_batch(self, plan: Plan, grid: WorkingGrid) -> Plan:
        """Return the plan with the batch grown while memory allows, on a GPU, where the crop is the whole volume."""
        if self.budget.device == "cpu" or rules.share_seen(plan.crop_size, grid) < 1:
            return plan
        for batch in range(plan.batch_size + 1, rules.largest_batch(self.fingerprint.cases) + 1):
            larger = plan.model_copy(update={"batch_size": batch})
            if not self._fits(larger):
                break
            plan = larger
        return plan

    def _sufficient(self, grid: WorkingGrid, cover: float) -> list[Voxels]:
        """Return the crops that see enough, the one with most voxels first; of equals the one that sees more."""
        enough = rules.enough(grid, self.fingerprint, cover)
        seeing = [crop for crop in self._crops(grid) if rules.sees(crop, enough)]
        return sorted(seeing, key=lambda crop: (math.prod(crop), rules.share_seen(crop, grid)), reverse=True)

    def _plan(self, grid: WorkingGrid, crop: Voxels) -> Plan:
        fingerprint, budget = self.fingerprint, self.budget
        batch = rules.smallest_batch(crop, fingerprint.cases, budget.step_voxels, budget.cpu_batch, budget.processes)
        return default_plan(fingerprint, grid, crop, self._crops(grid)[crop], batch, budget, self.seed)

    def _affordable(self, crop: Voxels) -> bool:
        most = self.budget.step_voxels
        return most is None or rules.affordable_on_cpu(crop, most)

    @cache  # noqa: B019 - lives as long as the search
    def _crops(self, grid: WorkingGrid) -> dict[Voxels, tuple[Voxels, ...]]:
        return rules.crops(grid)

    def _fits(self, plan: Plan) -> bool:
        share = share_of(plan, self.budget.processes).batch_size
        return is_indexable(plan, share, plan.crop_size) and self.cost(plan, self.budget) <= self.budget.step_gib
