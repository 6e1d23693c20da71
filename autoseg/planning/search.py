"""Deriving plans by what their working grid, and the next finer ones, leave of the organs."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.dataset.load import Dataset
from autoseg.imaging.grid import Triple
from autoseg.planning.budget import Budget, step_gib
from autoseg.planning.ceiling import dataset_ceilings
from autoseg.planning.planner import Cost, Decision, derive_plan
from autoseg.pool import Track

FINER_SHOWN = 2  # working grids finer than the chosen one whose ceilings are measured


@dataclass(frozen=True, kw_only=True)
class PlanSearch:
    """Derives plans for one dataset; a grid's ceilings are measured once, when it comes into question."""

    fingerprint: Fingerprint
    seed: int
    dataset: Dataset  # the cases that may choose
    jobs: int
    track: Track
    ceilings: dict[Triple, tuple[float | None, ...]] = field(default_factory=dict)  # by a grid's spacing, one an organ

    def __call__(self, budget: Budget, cost: Cost = step_gib) -> Decision:
        """Derive a plan, measure what its grid and the next finer ones leave of the organs, and derive again by that.

        Raises:
            PlanError: If not even the coarsest grid fits the budget.
        """
        self.measure_grids(derive_plan(self.fingerprint, budget, self.seed, self.ceilings, cost))
        return derive_plan(self.fingerprint, budget, self.seed, self.ceilings, cost)

    def measure_grids(self, decision: Decision) -> None:
        """Measure the ceilings of a decision's grid and of the next finer ones, as far as they are not known."""
        own, plan = decision.chosen or decision.grids[0], decision.plan
        finer = [grid for grid in decision.grids if grid.is_finer_than(own)]
        grids = [grid for grid in (*finer[-FINER_SHOWN:], own) if grid.spacing_mm not in self.ceilings]
        if not grids:
            return
        spacings = [None if plan.spacing_mm is None else grid.spacing_mm for grid in grids]
        cases, labels = self.dataset.cases, self.dataset.labels
        by_organ = dataset_ceilings(cases, labels, spacings, plan.downsampling, self.jobs, self.track)
        self.ceilings.update(zip((grid.spacing_mm for grid in grids), zip(*by_organ, strict=True), strict=True))
