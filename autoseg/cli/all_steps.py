"""What the command line does for verbs that take all steps: those that are due, one after another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.cli import verbs
from autoseg.cli.progress import display
from autoseg.cli.run_log import logging_to
from autoseg.options import (
    CohortOptions,
    EvaluateOptions,
    PlanOptions,
    PreprocessOptions,
    ReportOptions,
    TrainOptions,
)
from autoseg.run import Run

if TYPE_CHECKING:
    from autoseg.steps.run import StepOptions


def run_all(
    dataset: Path,
    run: Run,
    planning: PlanOptions,
    training: TrainOptions,
    evaluation: EvaluateOptions,
    repeat: int = 1,
) -> None:
    """Take every step from plan to report that is due, those of repetitions before the report."""
    from autoseg.steps.run import due_steps, repeated_steps

    with run.locked("run"), logging_to(run):
        for options in due_steps(dataset, run, planning, training, evaluation):
            if isinstance(options, ReportOptions):
                for again, its_options in repeated_steps(dataset, run, planning, training, evaluation, repeat):
                    _step(dataset, again, its_options)
            _step(dataset, run, options)


def _step(dataset: Path, run: Run, options: StepOptions) -> None:
    match options:
        case PlanOptions():
            verbs.plan(dataset, run, options)
        case PreprocessOptions():
            verbs.preprocess(run, options)
        case TrainOptions():
            verbs.train(run, options)
        case EvaluateOptions():
            verbs.evaluate(run, options)
        case ReportOptions():
            verbs.report(run, options)


def demo(
    run: Run, cohort: CohortOptions, planning: PlanOptions, training: TrainOptions, evaluation: EvaluateOptions
) -> None:
    """Make phantoms, then take every step."""
    from autoseg.steps.demo import demo_planning, demo_training, make_cohort

    with run.locked("demo"):
        dataset = make_cohort(run, cohort, planning, display.track)
        run_all(dataset, run, demo_planning(planning), demo_training(training), evaluation)
