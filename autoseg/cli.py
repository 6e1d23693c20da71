"""The command line: each verb parses, makes one call, and prints one line of result."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from autoseg import options as opt
from autoseg.errors import AutosegError, PlanError
from autoseg.run import Run

if TYPE_CHECKING:
    import pandas as pd

    from autoseg.pipeline.planned import PlanOptions
    from autoseg.pipeline.trained import TrainOptions
    from autoseg.planning.findings import Finding
    from autoseg.training.loop import Progress as TrainingProgress

Item = TypeVar("Item")
console = Console(highlight=False)
logger = logging.getLogger("autoseg")
logger.propagate = False  # to RUN/log.txt only
logger.addHandler(logging.NullHandler())
app = typer.Typer(
    help="Self-configuring segmentation of organs in CT and MR volumes. For research; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.command("check")
def check_command(dataset: opt.DatasetPath, json: opt.Json = None, jobs: opt.Jobs = None) -> None:
    """Look for problems in every case of DATASET; exit 1 when any is fatal.

    Example: autoseg check DATA/hippocampus --json problems.json
    """
    from autoseg.pipeline.planned import check
    from autoseg.planning.findings import write_check

    found, _, findings = check(dataset, _jobs(jobs), _track)
    if json is not None:
        write_check(findings, json)
    _show_findings(findings)
    fatal = len({f.case for f in findings if f.severity == "fatal"})
    _say(f"{len(found.cases)} cases checked, {len(findings)} rows, {fatal} cases with a fatal problem")
    if fatal:
        raise typer.Exit(1)


@app.command("plan")
def plan_command(
    dataset: opt.DatasetPath,
    run: opt.RunPath,
    preset: opt.Preset = None,
    gpu_memory: opt.GpuMemory = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    set_: opt.Settings = None,
    exclude: opt.Exclude = None,
    folds: opt.Folds = 1,
    measure: opt.Measure = False,
    force: opt.Force = False,
    jobs: opt.Jobs = None,
) -> None:
    """Look at DATASET, decide, and write RUN/plan.json and RUN/plan.md.

    Example: autoseg plan DATA/hippocampus RUN --device cpu
    """
    wanted = _plan_options(preset, gpu_memory, device, seed, set_, exclude, folds, measure)
    _plan(dataset, Run(run), wanted, force, _jobs(jobs))


@app.command("preprocess")
def preprocess_command(run: opt.RunPath, jobs: opt.Jobs = None) -> None:
    """Cache RUN's cases on the working grid; only what is stale.

    Example: autoseg preprocess RUN -j 4
    """
    _preprocess(Run(run), _jobs(jobs))


@app.command("train")
def train_command(
    run: opt.RunPath,
    fold: opt.Fold = None,
    iterations: opt.Iterations = None,
    time_budget: opt.TimeBudget = None,
    device: opt.TrainDevice = None,
    workers: opt.Workers = None,
) -> None:
    """Train, from the checkpoint where there is one; Ctrl-C saves a usable model and stops.

    Example: autoseg train RUN --time-budget 45m
    """
    _train(Run(run), _train_options(fold, iterations, time_budget, device, workers))


@app.command("predict")
def predict_command(model: opt.ModelPath, image: opt.ImagePath, out: opt.OutPath, device: opt.Device = "auto") -> None:
    """Segment INPUT with MODEL; the masks lie on the images' own grids.

    Example: autoseg predict RUN scan.nii.gz mask.nii.gz
    """
    from autoseg.inference.predict import jobs_for, open_model, predict
    from autoseg.network.device import pick_device

    jobs = jobs_for(image, out)
    predict(open_model(model, pick_device(device)), jobs, _track)
    _say(f"{len(jobs)} masks -> {out}")


@app.command("evaluate")
def evaluate_command(run: opt.RunPath, device: opt.Device = "auto") -> None:
    """Predict RUN's cases on full volumes and write RUN/scores.csv.

    Example: autoseg evaluate RUN
    """
    _evaluate(Run(run), device)


@app.command("score")
def score_command(
    predictions: opt.Predictions,
    references: opt.References,
    out: opt.Scores = Path("scores.csv"),
    jobs: opt.Jobs = None,
) -> None:
    """Score the masks of one folder against those of the same name in another.

    Example: autoseg score RUN/fold-0/predictions DATA/hippocampus/labelsTr --out scores.csv
    """
    from autoseg.results.scores import PartlyScoredError, score_folders, write_scores

    try:
        rows = score_folders(predictions, references, _jobs(jobs), _track)
    except PartlyScoredError as partly:
        write_scores(partly.rows, out)
        raise
    write_scores(rows, out)
    _say(f"{len({row['case'] for row in rows})} cases scored -> {out}")


@app.command("report")
def report_command(run: opt.RunPath) -> None:
    """Write RUN/report: both tables, curves and report.html.

    Example: autoseg report RUN
    """
    _report(Run(run))


@app.command("run")
def run_command(
    dataset: opt.DatasetPath,
    run: opt.RunPath,
    preset: opt.Preset = None,
    gpu_memory: opt.GpuMemory = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    set_: opt.Settings = None,
    exclude: opt.Exclude = None,
    folds: opt.Folds = 1,
    measure: opt.Measure = False,
    force: opt.Force = False,
    jobs: opt.Jobs = None,
    fold: opt.Fold = None,
    iterations: opt.Iterations = None,
    time_budget: opt.TimeBudget = None,
    workers: opt.Workers = None,
) -> None:
    """Do everything from check to report; what is done already and not stale is kept.

    Example: autoseg run DATA/hippocampus RUN --device cpu
    """
    planning = _plan_options(preset, gpu_memory, device, seed, set_, exclude, folds, measure)
    training = _train_options(fold, iterations, time_budget, None if device == "auto" else device, workers)
    _run(dataset, Run(run), planning, training, force, _jobs(jobs))


@app.command("demo")
def demo_command(
    run: opt.RunPath = Path("autoseg-demo"),
    cases: opt.Cases = 24,
    preset: opt.Preset = None,
    gpu_memory: opt.GpuMemory = None,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    set_: opt.Settings = None,
    exclude: opt.Exclude = None,
    folds: opt.Folds = 1,
    measure: opt.Measure = False,
    force: opt.Force = False,
    jobs: opt.Jobs = None,
    fold: opt.Fold = None,
    iterations: opt.Iterations = None,
    time_budget: opt.TimeBudget = None,
    workers: opt.Workers = None,
) -> None:
    """Make a cohort of CT-like phantoms with seven organs, then do everything from check to report.

    Example: autoseg demo RUN
    """
    from autoseg.data.cohort import write_cohort

    dataset = write_cohort(run / "phantoms", cases, seed, _jobs(jobs), _track)
    if iterations is None and time_budget is None:
        time_budget = DEMO_TRAINING
    planning = _plan_options(preset, gpu_memory, device, seed, set_, exclude, folds, measure)
    training = _train_options(fold, iterations, time_budget, None if device == "auto" else device, workers)
    _run(dataset, Run(run), planning, training, force, _jobs(jobs))


DEMO_TRAINING = "180s"


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 1."""
    try:
        app()
    except AutosegError as error:
        logger.debug("failed", exc_info=True)
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}")
        sys.exit(1)
    except OSError as error:
        logger.debug("failed", exc_info=True)
        name = f"{error.filename}: " if error.filename else ""
        text = f"{name}{error.strerror or error}; check the path, the permissions and the free disk space"
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/red] {escape(text)}")
        sys.exit(1)


def _run(dataset: Path, run: Run, planning: PlanOptions, training: TrainOptions, force: bool, jobs: int) -> None:
    from autoseg.pipeline.planned import is_planned
    from autoseg.pipeline.reported import is_evaluated

    if force or not is_planned(dataset, run, planning):
        _plan(dataset, run, planning, force, jobs)
    _preprocess(run, jobs)
    _train(run, training)
    if not is_evaluated(run):
        _evaluate(run, training.device or "auto")
    _report(run)


def _plan(dataset: Path, run: Run, wanted: PlanOptions, force: bool, jobs: int) -> None:
    from autoseg.pipeline.planned import plan

    with _logging(run):
        made = plan(dataset, run, wanted, jobs, force, _track).plan
    by = " × ".join
    _say(
        f"factor {by(f'{f:g}' for f in made.downsampling)}, crop {by(map(str, made.crop_size))}, "
        f"batch {made.batch_size}, {made.iterations} iterations -> {run.folder / 'plan.md'}"
    )


def _preprocess(run: Run, jobs: int) -> None:
    from autoseg.pipeline.trained import preprocess

    with _logging(run):
        made = preprocess(run, jobs, _track)
    _say(f"{made} cases preprocessed -> {run.cache}")


def _train(run: Run, wanted: TrainOptions) -> None:
    from autoseg.pipeline.trained import train

    with _logging(run), _progress() as bar, _interrupts() as stopped:
        finished = train(run, wanted, _training_bar(bar), stopped)
    for fold, iterations in finished.items():
        _say(f"fold {fold}: {iterations} iterations -> {run.fold(fold) / 'model.autoseg'}")
    if stopped():
        _say("interrupted; what was learnt is kept, the same command goes on")
        raise typer.Exit(130)


def _evaluate(run: Run, device: str) -> None:
    from autoseg.network.device import pick_device
    from autoseg.pipeline.origin import dataset_of
    from autoseg.pipeline.trained import splits_of
    from autoseg.results.evaluate import evaluate

    with _logging(run):
        labels = {case.id: case.label for case in dataset_of(run).cases}
        rows = evaluate(run, splits_of(run), labels, pick_device(device), _track)
    _say(f"{len({row['case'] for row in rows})} cases scored -> {run.scores_file}")


def _report(run: Run) -> None:
    from autoseg.pipeline.reported import write_report

    with _logging(run):
        tables = write_report(run)
    for title, table in tables.items():
        _show_table(title, table)
    _say(f"tables, curves, pictures -> {run.report / 'report.html'}")


def _plan_options(
    preset: str | None,
    gpu_memory: float | None,
    device: str,
    seed: int,
    settings: list[str] | None,
    exclude: list[str] | None,
    folds: int,
    measure: bool,
) -> PlanOptions:
    from autoseg.pipeline.planned import PlanOptions

    pairs = [text.partition("=") for text in settings or []]
    wrong = [key for key, equals, _ in pairs if not equals or not key]
    if wrong:
        raise PlanError(f"--set {wrong[0]}: write it as KEY=VALUE, as in --set batch_size=2")
    return PlanOptions(
        preset=preset,
        gpu_memory_gib=gpu_memory,
        device=device,
        seed=seed,
        settings={key.strip(): value for key, _, value in pairs},
        exclude=tuple(exclude or ()),
        folds=folds,
        measure=measure,
    )


def _train_options(
    fold: str | None, iterations: int | None, time_budget: str | None, device: str | None, workers: int | None
) -> TrainOptions:
    from autoseg.pipeline.trained import TrainOptions, seconds_of

    if fold is not None and fold != "all" and not fold.isdigit():
        raise PlanError(f"--fold {fold}: give a number or all")
    if iterations is not None and time_budget is not None:
        raise PlanError("--iterations and --time-budget exclude each other; give one")
    return TrainOptions(
        folds=None if fold in (None, "all") else (int(fold),),
        iterations=iterations,
        time_budget_s=None if time_budget is None else seconds_of(time_budget),
        device=device,
        workers=workers,
    )


def _jobs(wanted: int | None) -> int:
    from autoseg.workers import usable_cores

    return wanted if wanted is not None else usable_cores()


def _say(text: str) -> None:
    console.print(escape(text), soft_wrap=True)


def _show_findings(findings: list[Finding]) -> None:
    if not findings:
        return
    table = Table("severity", "case", "found", "what to do", title="Data check")
    colours = {"fatal": "red", "warning": "yellow"}
    notes: dict[str, list[Finding]] = {}
    for f in findings:
        if f.severity == "note":
            notes.setdefault(f.code, []).append(f)
        else:
            table.add_row(f"[{colours[f.severity]}]{f.severity}", escape(f.case), escape(f.found), escape(f.fix))
    for same in notes.values():
        also = f" (and {len(same) - 1} more rows, see --json)" if len(same) > 1 else ""
        table.add_row("[dim]note", escape(same[0].case), escape(same[0].found + also), escape(same[0].fix))
    console.print(table)


def _show_table(title: str, table: pd.DataFrame) -> None:
    shown = Table(*(str(c) for c in table.columns), title=title)
    for row in table.itertuples(index=False):
        shown.add_row(*(escape(str(value)) for value in row))
    console.print(shown)


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def _track(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    with _progress() as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task)


def _training_bar(bar: Progress) -> Callable[[int, TrainingProgress], None]:
    tasks: dict[int, tuple[object, float, int]] = {}

    def tell(fold: int, now: TrainingProgress) -> None:
        if fold not in tasks:
            tasks[fold] = bar.add_task(f"Training fold {fold}", total=now.iterations), time.monotonic(), now.iteration
        known = [value for value in now.dice.values() if value == value]
        dice = f", validation Dice {sum(known) / len(known):.3f}" if known else ""
        text = f"Training fold {fold}: loss {now.loss:.3f}{dice}"
        bar.update(tasks[fold][0], completed=now.iteration, description=text)  # type: ignore[arg-type]

    return tell


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Give a question whether Ctrl-C was pressed; a second one interrupts at once."""
    pressed = []

    def note(number: int, frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        console.print("stopping after this iteration; press Ctrl-C again to stop at once")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _logging(run: Run) -> Iterator[None]:
    """Write what happens, and the traceback of what fails, to RUN/log.txt; a folder that is no RUN stays as it is."""
    if not run.folder.is_dir():
        yield
        return
    handler = logging.FileHandler(run.folder / "log.txt", encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        logger.info("%s", " ".join(sys.argv))
        yield
    except Exception:
        logger.exception("failed")
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()


if __name__ == "__main__":
    main()
