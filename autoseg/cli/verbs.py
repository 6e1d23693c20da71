"""What the command line does around each step: a bar, the log, and the result in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from autoseg.cli.console import interrupts, say, show_findings, show_table
from autoseg.cli.progress import display
from autoseg.cli.run_log import logging_to
from autoseg.errors import AutosegError, CasesFailedError
from autoseg.machine import has_screen
from autoseg.options import (
    CheckOptions,
    CompareOptions,
    EvaluateOptions,
    PlanOptions,
    PredictOptions,
    PreprocessOptions,
    ReportOptions,
    ScoreOptions,
    TrainOptions,
    ViewOptions,
)
from autoseg.parts import Part
from autoseg.run import Run
from autoseg.timings import timed
from autoseg.words import counted, some

if TYPE_CHECKING:
    from autoseg.plan import Plan
    from autoseg.report.formats import TextTable


def check(dataset: Path, options: CheckOptions) -> None:
    """Look for problems in every case, and tell them.

    Raises:
        typer.Exit: With 1, if any is fatal.
    """
    display.phase("Checking")
    from autoseg.steps.check import check_and_write

    checked = check_and_write(dataset, options, display.track)
    if options.part is not None:
        say(f"{counted(len(checked.examinations), 'case')} checked{_as_part(options.part)}")
        return
    show_findings(checked.findings)
    if options.labels is not None:
        say(f"the names in the label maps, to be edited and saved as labels.csv beside the dataset -> {options.labels}")
    rows, bad = counted(len(checked.findings), "row"), counted(len(checked.fatal_cases), "case")
    problems = f"{rows}, {bad} with a fatal problem" if checked.findings else "no problem found"
    say(f"{counted(len(checked.dataset.cases), 'case')} checked, {problems}")
    labels = [f"{name} in {count}" for name, count in checked.cases_by_label.items()]
    say(f"labels, by the cases that have them: {some(labels)}")
    if checked.fatal_cases:
        raise typer.Exit(1)


def plan(dataset: Path, run: Run, options: PlanOptions) -> None:
    """Plan, and tell the decision."""
    display.phase("Planning")
    from autoseg.steps import plan as step

    if options.part is not None:
        with logging_to(run):
            cases = step.examine_part(dataset, run, options, display.track)
        say(f"{counted(cases, 'case')} examined{_as_part(options.part)}")
        return
    with logging_to(run), timed(run, "plan"):
        decision = step.plan(dataset, run, options, display.track)
    say(f"{_plan_line(decision.plan)} -> {run.plan_text_file}")
    for second in decision.plan.stages[1:]:
        organs = ", ".join(organ.name for organ in second.labels)
        say(f"second stage, of {organs}, which `train` trains after the first: {_plan_line(second)}")
    if decision.two_for:
        say(f"two stages, as {decision.two_for}; --stages 1 plans one")
    for sentence in decision.advice:
        say(sentence)


def _plan_line(plan: Plan) -> str:
    factor, crop = " × ".join(f"{f:g}" for f in plan.downsampling), " × ".join(map(str, plan.crop_size))
    return f"factor {factor}, crop {crop}, batch {plan.batch_size}, {counted(plan.iterations, 'iteration')}"


def preprocess(run: Run, options: PreprocessOptions) -> None:
    """Cache the cases, and tell how many."""
    display.phase("Preprocessing")
    from autoseg.steps import preprocess as step

    with logging_to(run), timed(run, "preprocess"):
        cached = step.preprocess(run, options, display.track)
    why = "" if cached else ", as all are up to date"
    where = f" -> {run.cache}" if options.part is None else _as_part(options.part)
    say(f"{counted(cached, 'case')} preprocessed{why}{where}")


def train(run: Run, options: TrainOptions) -> None:
    """Train, in a team where several GPUs are wanted, and tell the iterations.

    Raises:
        typer.Exit: With 130, if the user interrupted.
    """
    display.phase("Training")
    from autoseg.steps import train as step
    from autoseg.steps.train_distributed import is_due, train_distributed

    if is_due(options):
        with display.hidden():  # the processes show what they do
            was_ended = train_distributed(run, options)
        if was_ended:
            _tell_interrupted()
        return
    with logging_to(run), timed(run, "train"), display.training() as tell, interrupts() as stopped:
        finished = step.train(run, options, tell, stopped, display.track)
    for fold, iterations in finished.items():
        models = " and ".join(str(run.stage(n).fold(fold).model) for n in range(len(run.plan().stages)))
        say(f"fold {fold}: {counted(iterations, 'iteration')} -> {models}")
    if stopped():
        _tell_interrupted()


def _tell_interrupted() -> NoReturn:
    say("interrupted; what was learnt is kept, the same command goes on")
    raise typer.Exit(130)


def predict(model: Path, image: Path, out: Path, options: PredictOptions) -> None:
    """Segment what INPUT holds, and tell how many, and which to look at first.

    Raises:
        CasesFailedError: When the others are told, if some could not be predicted.
    """
    display.phase("Predicting")
    from autoseg.steps import predict as step

    try:
        predicted = step.predict(model, image, out, options, say, display.track)
    except CasesFailedError as error:
        if error.done:
            say(f"{counted(error.done, 'mask')} -> {out}")
        raise
    before = f", {predicted.predicted_before} more were there" if predicted.predicted_before else ""
    say(f"{counted(predicted.masks, 'mask')}{before} -> {out}")


def evaluate(run: Run, options: EvaluateOptions) -> None:
    """Predict and score all cases, and tell how many."""
    display.phase("Evaluating")
    from autoseg.steps import evaluate as step

    with logging_to(run), timed(run, "evaluate"):
        cases = step.evaluate(run, options, display.track)
    if options.part is not None:
        say(f"{counted(cases, 'case')} scored{_as_part(options.part)}")
        return
    say(f"{counted(cases, 'case')} scored -> {step.scores_of(run, options)}")


def score(predictions: Path, references: Path, options: ScoreOptions) -> None:
    """Score the masks of one folder against those of another, and tell how many.

    Raises:
        CasesFailedError: When the others are told, if some could not be scored.
    """
    display.phase("Scoring")
    from autoseg.evaluation.instances import instances_file
    from autoseg.steps import score as step

    scored = step.score(predictions, references, options, display.track)
    if options.part is not None:
        say(f"{counted(scored.cases, 'case')} scored{_as_part(options.part)}")
    elif scored.cases or scored.failed is None:
        say(f"{counted(scored.cases, 'case')} scored -> {options.out}")
    if scored.by_organ is not None:
        table = scored.by_organ.itertuples(index=False)
        lines = [[f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in table]
        show_table("Pieces found, missed and invented", list(scored.by_organ.columns), lines)
        say(f"{counted(scored.pieces, 'piece')} -> {instances_file(options.out)}")
    if scored.failed is not None:
        raise scored.failed


def compare(sources: list[str], options: CompareOptions) -> None:
    """Compare runs or score files with the first of them, and tell what follows."""
    display.phase("Comparing")
    from autoseg.steps.compare import compare_sources

    comparison = compare_sources(sources, options.out, options.metric)
    for table in comparison.tables:
        show_table(table.caption, table.columns, table.rows)
    for line in (*comparison.verdict, *comparison.notes):
        say(line)
    if comparison.written and options.out is not None:
        say(f"{counted(len(comparison.written), 'file')} -> {options.out}")


def report(run: Run, options: ReportOptions) -> None:
    """Write the report, and show its tables.

    Raises:
        AutosegError: When the page is written, if some cases could not be drawn.
    """
    display.phase("Reporting")
    from autoseg.steps import report as step

    with logging_to(run), timed(run, "report"):
        failed = step.report(run, options, display.track, _show_tables)
    say(f"tables, curves, pictures -> {run.report.page}")
    if options.pdf:
        say(f"printed -> {run.report.pdf}")
    if failed:
        raise AutosegError(
            "\n".join([f"not drawn: {counted(len(failed), 'case')}", *(f"  {c}: {w}" for c, w in failed.items())])
        )


def _show_tables(tables: Sequence[TextTable]) -> None:
    for table in tables:
        show_table(table.title, table.columns, table.rows)
    for note in dict.fromkeys(table.note for table in tables):
        say(note)
    if not tables:
        say("no table yet, as no case is scored: `autoseg evaluate RUN` does it")


def view(run: Run, case: str | None, options: ViewOptions) -> None:
    """Write the page of a case, or of all, open it where that is wanted, and tell its size.

    Raises:
        AutosegError: When the others are written, if some cases could not be shown.
    """
    if (case is None) != options.all:
        raise AutosegError(f"view {run.folder}: give either a case, or --all for those that are predicted")
    if options.all and options.out is not None and options.out.suffix.lower() in (".html", ".htm"):
        raise AutosegError(f"--out {options.out}: --all writes several pages; give a folder")
    display.phase("Drawing the page")
    from autoseg.report.view import write_view, write_views

    failed: dict[str, str] = {}
    with logging_to(run):
        if case is None:
            page, failed = write_views(run, options.out, display.track)
        else:
            page = write_view(run, case, options.out)
    if options.open and page.is_file():
        if has_screen():
            typer.launch(str(page))
        else:
            say("there is no screen here: open the page in a browser elsewhere")
    if failed:
        raise AutosegError(
            "\n".join([f"not shown: {counted(len(failed), 'case')}", *(f"  {c}: {w}" for c, w in failed.items())])
        )
    _tell_size(page)


def export(run: Run, file: Path) -> None:
    """Write the models to one file, and tell its size; as ONNX of two stages to two."""
    display.phase("Exporting")
    from autoseg.steps import export as step

    with logging_to(run):
        files = step.export(run, file)
    for written in files:
        _tell_size(written)


def show(model: Path) -> None:
    """Print the card of a model file."""
    from autoseg.steps.export import read_card

    say(read_card(model))


def _as_part(part: Part) -> str:
    """Return the end of a sentence on what a part has done."""
    return f", as part {part}; the same command without --part gathers all"


def _tell_size(file: Path) -> None:
    say(f"{file.stat().st_size / 2**20:.1f} MiB -> {file}")
