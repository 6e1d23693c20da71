"""The command line: each verb parses, makes one call, and prints one line of result."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from autoseg.cli import options as opt
from autoseg.cli import verbs
from autoseg.cli.console import logging_to, say, track
from autoseg.errors import AutosegError
from autoseg.machine import process_place
from autoseg.metrics import TOLERANCE_MM
from autoseg.run import Run

DEMO_TRAINING = "245s"
DEMO_TOLERANCE_MM = 3.0  # the phantoms' voxels are larger than the usual 2 mm
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def main_command(version: opt.Version = False) -> None:
    """Self-configuring segmentation of organs in CT and MR volumes. For research; not a medical device."""


@app.command("check")
def check_command(dataset: opt.DatasetPath, json: opt.Json = None, jobs: opt.Jobs = None) -> None:
    """Look for problems in every case of DATASET; exit 1 when any is fatal.

    Example: autoseg check DATA/hippocampus --json problems.json
    """
    verbs.check_dataset(dataset, json, verbs.jobs_or_cores(jobs))


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
    split: opt.SplitFile = None,
    measure: opt.Measure = False,
    time_budget: opt.TimeBudget = None,
    gpus: opt.PlannedGpus = 1,
    force: opt.Force = False,
    jobs: opt.Jobs = None,
) -> None:
    """Look at DATASET, decide, and write RUN/plan.json and RUN/plan.md.

    Example: autoseg plan DATA/hippocampus RUN --device cpu
    """
    wanted = opt.plan_options(preset, gpu_memory, device, seed, set_, exclude, folds, split, measure, time_budget, gpus)
    verbs.plan_run(dataset, Run(run), wanted, force, verbs.jobs_or_cores(jobs))


@app.command("preprocess")
def preprocess_command(run: opt.RunPath, jobs: opt.Jobs = None) -> None:
    """Cache RUN's cases on the working grid; only what is stale.

    Example: autoseg preprocess RUN -j 4
    """
    verbs.preprocess_run(Run(run), verbs.jobs_or_cores(jobs))


@app.command("train")
def train_command(
    run: opt.RunPath,
    fold: opt.Fold = None,
    iterations: opt.Iterations = None,
    time_budget: opt.TimeBudget = None,
    device: opt.TrainDevice = None,
    workers: opt.Workers = None,
    patience: opt.Patience = None,
    tensorboard: opt.TensorBoard = False,
    deterministic: opt.Deterministic = False,
    gpus: opt.Gpus = 1,
) -> None:
    """Train, from the checkpoint where there is one; Ctrl-C saves a usable model and stops.

    Example: autoseg train RUN --time-budget 45m
    """
    wanted = opt.train_options(fold, iterations, time_budget, device, workers, patience, tensorboard, deterministic)
    verbs.train_run(Run(run), wanted, gpus)


@app.command("predict")
def predict_command(
    model: opt.ModelPath,
    image: opt.ImagePath,
    out: opt.OutPath,
    device: opt.Device = "auto",
    mirror: opt.Mirror = False,
    cleanup: opt.CleanUp = True,
    series: opt.SeriesUid = None,
    statistics: opt.StatisticsFile = None,
    per_organ: opt.PerOrgan = False,
    probabilities: opt.Probabilities = False,
    preview: opt.Preview = False,
    dicom_seg: opt.DicomSeg = False,
    rtstruct: opt.RtStruct = False,
    overwrite: opt.Overwrite = False,
    verbose: opt.Verbose = False,
) -> None:
    """Segment INPUT with MODEL; the masks lie on the images' own grids.

    Example: autoseg predict RUN scan.nii.gz mask.nii.gz
    """
    from autoseg.inference.model import PredictOptions
    from autoseg.inference.outputs.write import Outputs

    wanted = PredictOptions(mirrored=mirror, cleaned=cleanup, probabilities=probabilities)
    outputs = Outputs(per_organ=per_organ, preview=preview, dicom_seg=dicom_seg, rtstruct=rtstruct)
    verbs.predict_images(model, image, out, device, series, statistics, wanted, outputs, overwrite, verbose)


@app.command("evaluate")
def evaluate_command(run: opt.RunPath, device: opt.Device = "auto", tolerance: opt.Tolerance = TOLERANCE_MM) -> None:
    """Predict RUN's cases on full volumes and write RUN/scores.csv.

    Example: autoseg evaluate RUN
    """
    verbs.evaluate_run(Run(run), device, tolerance)


@app.command("score")
def score_command(
    predictions: opt.Predictions,
    references: opt.References,
    out: opt.Scores = Path("scores.csv"),
    labels: opt.Names = None,
    tolerance: opt.Tolerance = TOLERANCE_MM,
    jobs: opt.Jobs = None,
) -> None:
    """Score the masks of one folder against those of the same name in another.

    Example: autoseg score RUN/fold-0/predictions DATA/hippocampus/labelsTr --labels DATA/hippocampus/dataset.json
    """
    verbs.score_masks(predictions, references, out, labels, tolerance, verbs.jobs_or_cores(jobs))


@app.command("compare")
def compare_command(sources: opt.Sources, metric: opt.Metric = "dice", out: opt.ComparisonOut = None) -> None:
    """Compare runs or score files with the first of them, case by case: differences, intervals, tests, a verdict.

    Example: autoseg compare RUN_A RUN_B --out comparison
    """
    verbs.compare_scores(sources, out, metric)


@app.command("report")
def report_command(run: opt.RunPath, jobs: opt.Jobs = None) -> None:
    """Write RUN/report: tables, curves, pictures of every case, and report.html.

    Example: autoseg report RUN
    """
    verbs.report_run(Run(run), verbs.jobs_or_cores(jobs))


@app.command("view")
def view_command(run: opt.RunPath, case: opt.CaseName, out: opt.ViewOut = None, open_: opt.Open = True) -> None:
    """Write a page that shows CASE with truth and prediction, slice by slice and in 3D, and open it.

    Example: autoseg view RUN hippocampus_001
    """
    from autoseg.report.view import write_view

    with logging_to(Run(run)):
        page = write_view(Run(run), case, out)
    if open_:
        typer.launch(str(page))
    say(f"{page.stat().st_size / 2**20:.1f} MiB -> {page}")


@app.command("export")
def export_command(run: opt.RunPath, file: opt.ModelFile) -> None:
    """Write RUN's models to one FILE for others: weights, plan, organs, clean-up, scores and a card; .onnx as ONNX.

    Example: autoseg export RUN model.autoseg
    """
    from autoseg.steps.export import export

    with logging_to(Run(run)):
        export(Run(run), file)
    say(f"{file.stat().st_size / 2**20:.1f} MiB -> {file}")


@app.command("show")
def show_command(model: opt.ModelFile) -> None:
    """Print the card of an exported MODEL file: what it segments, on what it was trained, how well.

    Example: autoseg show model.autoseg
    """
    from autoseg.steps.export import read_card

    say(read_card(model))


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
    split: opt.SplitFile = None,
    measure: opt.Measure = False,
    force: opt.Force = False,
    jobs: opt.Jobs = None,
    fold: opt.Fold = None,
    iterations: opt.Iterations = None,
    time_budget: opt.TimeBudget = None,
    workers: opt.Workers = None,
    patience: opt.Patience = None,
    tensorboard: opt.TensorBoard = False,
    deterministic: opt.Deterministic = False,
    gpus: opt.Gpus = 1,
    tolerance: opt.Tolerance = TOLERANCE_MM,
) -> None:
    """Do everything from check to report; what is done already and not stale is kept.

    Example: autoseg run DATA/hippocampus RUN --device cpu
    """
    planning = opt.plan_options(preset, gpu_memory, device, seed, set_, exclude, folds, split, measure, gpus=gpus)
    where = None if device == "auto" else device
    training = opt.train_options(fold, iterations, time_budget, where, workers, patience, tensorboard, deterministic)
    verbs.run_all(dataset, Run(run), planning, training, gpus, tolerance, force, verbs.jobs_or_cores(jobs))


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
    split: opt.SplitFile = None,
    measure: opt.Measure = False,
    force: opt.Force = False,
    jobs: opt.Jobs = None,
    fold: opt.Fold = None,
    iterations: opt.Iterations = None,
    time_budget: opt.TimeBudget = None,
    workers: opt.Workers = None,
    patience: opt.Patience = None,
    tensorboard: opt.TensorBoard = False,
    deterministic: opt.Deterministic = False,
    gpus: opt.Gpus = 1,
    tolerance: opt.Tolerance = DEMO_TOLERANCE_MM,
) -> None:
    """Make a cohort of CT-like phantoms with seven organs, then do everything from check to report.

    Example: autoseg demo RUN
    """
    from autoseg.phantom.cohort import write_cohort

    dataset = write_cohort(run / "phantoms", cases, seed, verbs.jobs_or_cores(jobs), track)
    if iterations is None and time_budget is None:
        time_budget = DEMO_TRAINING
    planning = opt.plan_options(preset, gpu_memory, device, seed, set_, exclude, folds, split, measure, gpus=gpus)
    where = None if device == "auto" else device
    training = opt.train_options(fold, iterations, time_budget, where, workers, patience, tensorboard, deterministic)
    verbs.run_all(dataset, Run(run), planning, training, gpus, tolerance, force, verbs.jobs_or_cores(jobs))


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that lacks a character is no reason to fail
    try:
        app()
    except AutosegError as error:
        _tell(error)
        sys.exit(1)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        text = f"{name}{error.strerror or error}; check the path, the permissions and the free disk space"
        _tell(AutosegError(text))
        sys.exit(1)


def _tell(error: AutosegError) -> None:
    """Print an error in a line; one process of several leaves that to what has started them."""
    if process_place().size > 1:
        from autoseg.network.distributed import report_failure

        if report_failure(error):
            return
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}")


if __name__ == "__main__":
    main()
