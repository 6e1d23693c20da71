"""The command line: each verb parses, makes one call, and tells the result."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from autoseg.cli import all_steps, verbs
from autoseg.cli import parameters as ask
from autoseg.cli.console import end_on_signals, exit_when_interrupted, ignore_signals, output, say_error, say_next
from autoseg.cli.progress import display
from autoseg.errors import AutosegError
from autoseg.machine import failure_file, process_place
from autoseg.options import (
    CheckOptions,
    CohortOptions,
    CompareOptions,
    EvaluateOptions,
    PlanOptions,
    PredictOptions,
    PreprocessOptions,
    RepeatOptions,
    ReportOptions,
    ScoreOptions,
    TrainOptions,
    ViewOptions,
)
from autoseg.processes import end_with_parent
from autoseg.run import Run

DEMO_EVALUATION = EvaluateOptions(tolerance_mm=3.0)  # the phantoms' voxels are larger than the usual 2 mm
# which come with the training's, or are not for all steps together
WholePlanOptions = Annotated[PlanOptions, ask.without("--time-budget", "--gpus", "--part")]
OwnEvaluateOptions = Annotated[
    EvaluateOptions, ask.without("--dataset", "--stress", "--part")
]  # which `run` does not do
# verbs that note each case, picture or some iterations
KEEPING = frozenset({"preprocess", "train", "predict", "evaluate", "report", "run", "demo"})
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut words in a narrow terminal, and take [brackets] for markup
    context_settings={"max_content_width": 120},
)


def verb(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what makes a function a verb of the command line, with a flag for each option of its dataclasses."""

    def register(command: Callable[..., None]) -> Callable[..., None]:
        asked = ask.with_options(command)

        @functools.wraps(asked)
        def call(**values: Any) -> None:
            is_kept = values.get("part") is not None or (name in KEEPING and not values.get("stress"))
            way_on = (
                "what was finished is kept, the same command goes on" if is_kept else "the same command begins anew"
            )
            with exit_when_interrupted(f"{name}: interrupted; {way_on}"), display.shown("Starting"):
                asked(**values)

        return app.command(name, short_help=(command.__doc__ or "").partition("\n")[0])(call)

    return register


@app.callback()
def main_command(version: ask.Version = False) -> None:
    """Self-configuring segmentation of organs in CT and MR volumes. For research; not a medical device."""


@verb("check")
def check_command(dataset: ask.DatasetPath, options: CheckOptions) -> None:
    """Look for problems in every case of DATASET; exit 1 when any is fatal.

    Example: autoseg check DATA/hippocampus --json problems.json
    """
    verbs.check(dataset, options)
    if options.part is None:
        say_next("plan", dataset, "RUN")


@verb("plan")
def plan_command(dataset: ask.DatasetPath, run: ask.RunPath, options: PlanOptions) -> None:
    """Look at DATASET, decide, and write RUN/plan.json and RUN/plan.md.

    Example: autoseg plan DATA/hippocampus RUN --device cpu
    """
    verbs.plan(dataset, Run(run), options)
    if options.part is None:
        say_next("preprocess", run)


@verb("preprocess")
def preprocess_command(run: ask.RunPath, options: PreprocessOptions) -> None:
    """Cache RUN's cases on the working grid; only what is stale.

    Example: autoseg preprocess RUN -j 4
    """
    verbs.preprocess(Run(run), options)
    if options.part is None:
        say_next("train", run)


@verb("train")
def train_command(run: ask.RunPath, options: TrainOptions) -> None:
    """Train, from the checkpoint where there is one; Ctrl-C saves a usable model and stops.

    Example: autoseg train RUN --time-budget 45m
    """
    verbs.train(Run(run), options)
    say_next("evaluate", run)


@verb("predict")
def predict_command(model: ask.ModelPath, image: ask.ImagePath, out: ask.OutPath, options: PredictOptions) -> None:
    """Segment INPUT with MODEL; the masks lie on the images' own grids.

    Example: autoseg predict RUN scan.nii.gz mask.nii.gz
    """
    verbs.predict(model, image, out, options)


@verb("evaluate")
def evaluate_command(run: ask.RunPath, options: EvaluateOptions) -> None:
    """Predict RUN's cases on full volumes and write RUN/scores.csv.

    Example: autoseg evaluate RUN
    """
    verbs.evaluate(Run(run), options)
    if options.part is None:
        say_next("report", run)


@verb("score")
def score_command(predictions: ask.Predictions, references: ask.References, options: ScoreOptions) -> None:
    """Score the masks of one folder against those of the same name in another.

    Example: autoseg score RUN/fold-0/predictions DATA/hippocampus/labelsTr --labels DATA/hippocampus/dataset.json
    """
    verbs.score(predictions, references, options)
    if options.part is None:
        say_next("compare", options.out, "OTHER.csv")


@verb("compare")
def compare_command(sources: ask.Sources, options: CompareOptions) -> None:
    """Compare runs or score files with the first of them, case by case: differences, intervals, tests, a verdict.

    Example: autoseg compare RUN_A RUN_B --out comparison
    """
    verbs.compare(sources, options)


@verb("report")
def report_command(run: ask.RunPath, options: ReportOptions) -> None:
    """Write RUN/report: tables, curves, pictures of cases, and report.html.

    Example: autoseg report RUN
    """
    verbs.report(Run(run), options)
    say_next("predict", run, "scan.nii.gz", "mask.nii.gz")


@verb("view")
def view_command(run: ask.RunPath, options: ViewOptions, case: ask.CaseName = None) -> None:
    """Write a page that shows CASE with truth and prediction, slice by slice and in 3D, and open it.

    Example: autoseg view RUN hippocampus_001
    """
    verbs.view(Run(run), case, options)


@verb("export")
def export_command(run: ask.RunPath, file: ask.ModelFile) -> None:
    """Write RUN's models to one FILE for others: weights, plan, organs, clean-up, scores and a card; .onnx as ONNX.

    Example: autoseg export RUN model.autoseg
    """
    verbs.export(Run(run), file)


@verb("show")
def show_command(model: ask.ModelFile) -> None:
    """Print the card of an exported model FILE: what it segments, on what it was trained, how well.

    Example: autoseg show model.autoseg
    """
    verbs.show(model)


@verb("run")
def run_command(
    dataset: ask.DatasetPath,
    run: ask.RunPath,
    planning: WholePlanOptions,
    training: TrainOptions,
    evaluation: OwnEvaluateOptions,
    repeating: RepeatOptions,
) -> None:
    """Do everything from check to report; what is done already and not stale is kept.

    Example: autoseg run DATA/hippocampus RUN --device cpu
    """
    all_steps.run_all(dataset, Run(run), planning, training, evaluation, repeating.repeat)
    say_next("predict", run, "scan.nii.gz", "mask.nii.gz")


@verb("demo")
def demo_command(
    cohort: CohortOptions,
    planning: WholePlanOptions,
    training: TrainOptions,
    run: ask.RunPath = Path("autoseg-demo"),
    evaluation: OwnEvaluateOptions = DEMO_EVALUATION,
) -> None:
    """Make a cohort of CT-like phantoms with seven organs, then do everything from check to report.

    Example: autoseg demo RUN
    """
    all_steps.demo(Run(run), cohort, planning, training, evaluation)
    say_next("run", "DATASET", "RUN")


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that lacks a character is no reason to fail
    end_on_signals()
    if failure_file() is not None:  # torchrun has started this process
        end_with_parent()
    try:
        with output():
            app()
    except AutosegError as error:
        _tell(error)
        sys.exit(1)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        text = f"{name}{error.strerror or error}; check the path, the permissions and the free disk space"
        _tell(AutosegError(text))
        sys.exit(1)
    finally:
        ignore_signals()


def _tell(error: AutosegError) -> None:
    """Print an error in a line; one process of several leaves that to what has started them."""
    if process_place().size > 1:
        from autoseg.network.distributed import report_failure

        if report_failure(error):
            return
    say_error(str(error))


if __name__ == "__main__":
    main()
