"""demo: what `run` does, on phantoms and in the time of a coffee."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autoseg.machine import usable_cores
from autoseg.options import CohortOptions, PlanOptions, TrainOptions
from autoseg.phantom.cohort import write_cohort
from autoseg.pool import Track, untracked
from autoseg.run import Run

TRAINING_S = 245.0  # where the user gives neither a time nor a number of iterations


def make_cohort(run: Run, options: CohortOptions, planning: PlanOptions, track: Track = untracked) -> Path:
    """Write phantoms into RUN, from the plan's seed and in its processes; return their dataset.

    Raises:
        DatasetError: If there is another dataset in its place.
    """
    jobs = planning.jobs or usable_cores()
    return write_cohort(run.phantoms, options.cases, planning.seed, jobs, track)


def demo_training(options: TrainOptions) -> TrainOptions:
    """Return the options with the demo's time, where the user gives no length."""
    if options.iterations is not None or options.time_budget_s is not None:
        return options
    return replace(options, time_budget_s=TRAINING_S)


def demo_planning(options: PlanOptions) -> PlanOptions:
    """Return the options with one stage, where the user does not say: the demo's time is too short for two."""
    is_said = options.stages is not None or options.preset is not None
    return options if is_said else replace(options, stages=1)
