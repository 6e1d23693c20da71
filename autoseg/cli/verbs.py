"""What the verbs do once their options are parsed: call the pipeline, and tell the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from autoseg.cli.console import (
    interrupts,
    logging_to,
    progress_bar,
    say,
    show_findings,
    show_seconds,
    show_table,
    track,
    training_bar,
)
from autoseg.errors import AutosegError
from autoseg.run import Run
from autoseg.words import counted

if TYPE_CHECKING:
    from autoseg.evaluation.scores import Row
    from autoseg.inference.model import PredictOptions
    from autoseg.inference.outputs.write import Outputs
    from autoseg.steps.plan import PlanOptions
    from autoseg.steps.train import TrainOptions


def run_all(
    dataset: Path,
    run: Run,
    planning: PlanOptions,
    training: TrainOptions,
    gpus: int,
    tolerance_mm: float,
    force: bool,
    jobs: int,
) -> None:
    """Do everything from plan to report that is not done yet."""
    from autoseg.evaluation.freshness import is_evaluated
    from autoseg.steps.plan import is_planned

    planning = replace(planning, iterations=training.iterations)
    if planning.gpu_memory_gib is None:  # with it the plan is for any machine, and the time a matter of training
        planning = replace(planning, training_s=training.time_budget_s)
    if force or not is_planned(dataset, run, planning):
        plan_run(dataset, run, planning, force, jobs)
        if planning.training_s is not None:  # measured just now: the plan's iterations fit the time
            training = replace(training, time_budget_s=None)
    preprocess_run(run, jobs)
    train_run(run, training, gpus)
    if not is_evaluated(run, tolerance_mm):
        evaluate_run(run, training.device or "auto", tolerance_mm)
    report_run(run, jobs)


def check_dataset(dataset: Path, json: Path | None, jobs: int) -> None:
    """Look for problems in every case, and tell them.

    Raises:
        typer.Exit: With 1, if any is fatal.
    """
    from autoseg.dataset.findings import write_check
    from autoseg.steps.plan import check

    found, _, findings = check(dataset, jobs, track)
    if json is not None:
        write_check(findings, json)
    show_findings(findings)
    fatal = len({f.case for f in findings if f.severity == "fatal"})
    rows, bad = counted(len(findings), "row"), counted(fatal, "case")
    say(f"{counted(len(found.cases), 'case')} checked, {rows}, {bad} with a fatal problem")
    if fatal:
        raise typer.Exit(1)


def plan_run(dataset: Path, run: Run, wanted: PlanOptions, force: bool, jobs: int) -> None:
    """Plan, and tell the decision."""
    from autoseg.steps.plan import plan

    with logging_to(run):
        made = plan(dataset, run, wanted, jobs, force, track).plan
    by = " × ".join
    say(
        f"factor {by(f'{f:g}' for f in made.downsampling)}, crop {by(map(str, made.crop_size))}, "
        f"batch {made.batch_size}, {counted(made.iterations, 'iteration')} -> {run.folder / 'plan.md'}"
    )


def preprocess_run(run: Run, jobs: int) -> None:
    """Cache the cases, and tell how many."""
    from autoseg.steps.train import preprocess

    with logging_to(run):
        made = preprocess(run, jobs, track)
    say(f"{counted(made, 'case')} preprocessed -> {run.cache}")


def train_run(run: Run, wanted: TrainOptions, gpus: int) -> None:
    """Train, in a team where several GPUs are wanted, and tell the iterations.

    Raises:
        typer.Exit: With 130, if the user interrupted.
    """
    from autoseg.steps.train import train
    from autoseg.steps.train_distributed import is_distributed, train_distributed

    if gpus > 1 and not is_distributed():
        if train_distributed(run, wanted, gpus):
            _tell_interrupted()
        return
    with logging_to(run), progress_bar() as bar, interrupts() as stopped:
        finished = train(run, wanted, training_bar(bar), stopped)
    for fold, iterations in finished.items():
        say(f"fold {fold}: {counted(iterations, 'iteration')} -> {run.fold(fold) / 'model.autoseg'}")
    if stopped():
        _tell_interrupted()


def _tell_interrupted() -> NoReturn:
    say("interrupted; what was learnt is kept, the same command goes on")
    raise typer.Exit(130)


def predict_images(
    model: Path,
    image: Path,
    out: Path,
    device: str,
    series: str | None,
    statistics: Path | None,
    wanted: PredictOptions,
    outputs: Outputs,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Segment what INPUT holds, and tell how many, and which to look at first.

    Raises:
        AutosegError: Before anything is predicted, if an option is not possible; at the end, if some images failed.
    """
    from autoseg.inference.inputs import folder_of, list_inputs
    from autoseg.inference.model import open_model
    from autoseg.inference.outputs.legend import write_legends
    from autoseg.inference.outputs.write import require_outputs
    from autoseg.inference.predict import predict
    from autoseg.inference.statistics import NAME, Statistics, require_table
    from autoseg.inference.stopwatch import Stopwatch
    from autoseg.machine import peak_memory_gib
    from autoseg.network.device import pick_device

    opened = open_model(model, pick_device(device))
    jobs = list_inputs(image, out, len(opened.plan.channels), series)
    opened.require_possible(wanted)
    if statistics is not None:
        require_table(statistics)
    require_outputs(outputs, jobs)
    if seen := sorted(opened.trained_on & {job.name for job in jobs}):
        say(
            f"{len(seen)} of {counted(len(jobs), 'image')} named like cases that the model has learnt from "
            f"({', '.join(seen[:3])}{', …' if len(seen) > 3 else ''}): if they are these, their masks say nothing "
            "of new ones"
        )
    if folder := folder_of(out):
        write_legends(folder, opened.plan.labels)
    found, watch = Statistics(folder / NAME if folder else None, fresh=overwrite), Stopwatch()
    tell = say if verbose and opened.plan.device == "cpu" else None
    try:
        made = predict(opened, jobs, found, wanted, outputs, track, watch, tell)
    finally:
        if verbose:
            show_seconds(watch.seconds, peak_memory_gib())
        if statistics is not None:
            found.write(statistics)
        for line in found.look_at_first():
            say(f"look at {line}")
    kept = f", {len(jobs) - made} more were there" if made < len(jobs) else ""
    say(f"{counted(made, 'mask')}{kept} -> {out}")


def evaluate_run(run: Run, device: str, tolerance_mm: float) -> None:
    """Predict and score all cases, and tell how many."""
    from autoseg.dataset.origin import dataset_of, splits_of
    from autoseg.evaluation.evaluate import evaluate
    from autoseg.network.device import pick_device

    with logging_to(run):
        labels = {case.id: case.label for case in dataset_of(run).cases}
        rows = evaluate(run, splits_of(run), labels, pick_device(device), tolerance_mm, track)
    say(f"{counted(len({row['case'] for row in rows}), 'case')} scored -> {run.scores_file}")


def score_masks(
    predictions: Path, references: Path, out: Path, labels: Path | None, tolerance_mm: float, jobs: int
) -> None:
    """Score the masks of one folder against those of another, and tell how many.

    Raises:
        PartlyScoredError: When the others are written, if some could not be scored.
    """
    from autoseg.dataset.metadata import labelled_organs, organ_names
    from autoseg.evaluation.folders import PartlyScoredError, require_free, score_folders

    require_free(out)
    names, labelled = (None, None) if labels is None else (organ_names(labels), labelled_organs(labels))
    try:
        rows = score_folders(predictions, references, names, labelled, tolerance_mm, jobs, track)
    except PartlyScoredError as partly:
        if partly.rows:
            _write_scored(partly.rows, out)
        raise
    _write_scored(rows, out)


def _write_scored(rows: list[Row], out: Path) -> None:
    from autoseg.evaluation.scores import write_scores

    write_scores(rows, out)
    say(f"{counted(len({row['case'] for row in rows}), 'case')} scored -> {out}")


def compare_scores(sources: list[str], out: Path | None, metric: str) -> None:
    """Compare runs or score files with the first of them, and tell what follows."""
    from autoseg.report.comparison import compare_sources

    found = compare_sources(sources, out, metric)
    for table in found.tables:
        show_table(table.caption, table.columns, table.rows)
    for line in (*found.verdict, *found.notes):
        say(line)
    if found.written and out is not None:
        say(f"{counted(len(found.written), 'file')} -> {out}")


def report_run(run: Run, jobs: int) -> None:
    """Write the report, and show its tables.

    Raises:
        AutosegError: When the page is written, if some cases could not be drawn.
    """
    from autoseg.report.write import write_report

    with logging_to(run):
        tables, failed = write_report(run, jobs, track)
    for table in tables:
        show_table(table.title, table.columns, table.rows)
    for note in dict.fromkeys(table.note for table in tables):
        say(note)
    say(f"tables, curves, pictures -> {run.report / 'report.html'}")
    if failed:
        raise AutosegError(
            "\n".join([f"not drawn: {counted(len(failed), 'case')}", *(f"  {c}: {w}" for c, w in failed.items())])
        )


def jobs_or_cores(wanted: int | None) -> int:
    """Return the processes that the user wants, or as many as there are cores."""
    from autoseg.machine import usable_cores

    return wanted if wanted is not None else usable_cores()
