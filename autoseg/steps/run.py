"""run: every step from plan to report that is not done yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from autoseg.dataset.origin import read_origin
from autoseg.evaluation.freshness import is_evaluated
from autoseg.options import EvaluateOptions, PlanOptions, PreprocessOptions, ReportOptions, TrainOptions
from autoseg.plan import Plan
from autoseg.report.provenance import trained_iterations
from autoseg.run import Run
from autoseg.steps.earlier_plan import is_planned

StepOptions = PlanOptions | PreprocessOptions | TrainOptions | EvaluateOptions | ReportOptions


def due_steps(
    dataset: Path, run: Run, planning: PlanOptions, training: TrainOptions, evaluation: EvaluateOptions
) -> Iterator[StepOptions]:
    """Yield the options of each step that is due; whether the next one is, is seen when the one before is done.

    The iterations, the time and the GPUs of the training count for the plan, too.
    """
    planning = replace(planning, iterations=training.iterations, gpus=training.gpus)
    if planning.gpu_memory_gib is None:  # with it the plan is for any machine, and the time a matter of training
        planning = replace(planning, time_budget_s=training.time_budget_s)
    training = replace(training, device=None if planning.device == "auto" else planning.device)
    if planning.force or not is_planned(dataset, run, planning):
        yield planning
        # else it was measured just now: the plan's iterations fit the time
        is_other = training.workers is not None or (training.deterministic and run.plan().device == "cuda")
        if planning.time_budget_s is not None and not is_other:
            training = replace(training, time_budget_s=None)
    yield PreprocessOptions(jobs=planning.jobs, cluster=planning.cluster)
    yield training
    if not is_evaluated(run, evaluation.tolerance_mm):
        yield evaluation
    yield ReportOptions(jobs=planning.jobs, cluster=planning.cluster)


def repeated_steps(
    dataset: Path,
    run: Run,
    planning: PlanOptions,
    training: TrainOptions,
    evaluation: EvaluateOptions,
    repeat: int,
) -> Iterator[tuple[Run, StepOptions]]:
    """Yield each step that is due of the repetitions of a trained RUN: its plan and split, other seeds, as long.

    Args:
        dataset: Of the RUN.
        run: Trained.
        planning: As it was planned; of it the processes and the cluster count.
        training: As it was trained.
        evaluation: As it was evaluated.
        repeat: Trainings in all, that of the RUN among them.
    """
    plan, excluded = run.plan(), read_origin(run).get("options", {}).get("exclude", ())
    first, later = (trained_iterations(run.stage(number)) or None for number in (0, 1))
    training = replace(training, iterations=first, later_iterations=later, time_budget_s=None)
    for number in range(1, repeat):
        again = run.repetition(number)
        same = PlanOptions(
            preset=str(run.plan_file),
            seed=plan.seed + number,
            settings=_of_the_data(plan),
            split=run.split_file,
            exclude=tuple(excluded),
            device=plan.device,
            jobs=planning.jobs,
            cluster=planning.cluster,
        )
        for options in due_steps(dataset, again, same, training, evaluation):
            if not isinstance(options, ReportOptions):
                yield again, options


def _of_the_data(plan: Plan) -> dict[str, str]:
    """Return as settings what a preset leaves to the data, which are the same here: the user may have changed it."""
    tree = plan.model_dump(mode="json")
    kept = {"intensity": tree["intensity"]}
    if plan.loss.weights is not None:
        kept["loss.weights"] = tree["loss"]["weights"]
    if plan.finer is not None:
        kept["finer.intensity"] = tree["finer"]["intensity"]
    return {key: json.dumps(value) for key, value in kept.items()}
