"""The options of the command line, each defined once: `run` and `demo` take those of every verb they call."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.errors import PlanError
from autoseg.version import VERSION

if TYPE_CHECKING:
    from autoseg.steps.plan import PlanOptions
    from autoseg.steps.train import TrainOptions


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autoseg {VERSION}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and stop.")
]
DatasetPath = Annotated[
    Path, typer.Argument(metavar="DATASET", help="nnU-Net raw folder, Decathlon folder, or CSV (case, image, label).")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that holds everything about a run.")]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A RUN, or a model.autoseg file.")]
ModelFile = Annotated[Path, typer.Argument(metavar="FILE", help="A model file, as in model.autoseg.")]
ImagePath = Annotated[Path, typer.Argument(metavar="INPUT", help="An image, a folder of images, or a DICOM folder.")]
OutPath = Annotated[Path, typer.Argument(metavar="OUT", help="A file where it has an image suffix, else a folder.")]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME|FILE", help="Take all settings from a plan file.")
]
GpuMemory = Annotated[float | None, typer.Option("--gpu-memory", metavar="GIB", help="Plan for a GPU of this memory.")]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Where to compute.")]
TrainDevice = Annotated[str | None, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Default: the plan's.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides split, initial weights and every crop.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the plan.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", metavar="CASE", help="Leave a case out.")]
Folds = Annotated[int, typer.Option("--folds", min=1, help="Folds of a cross-validation; 1: one split.")]
SplitFile = Annotated[
    Path | None, typer.Option("--split", metavar="FILE", help="Which cases train and test: JSON as split.json, or CSV.")
]
Measure = Annotated[bool, typer.Option("--measure", help="Run real iterations and write their time into plan.md.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a plan that was edited.")]
Jobs = Annotated[int | None, typer.Option("-j", "--jobs", min=1, help="Processes. Default: one a core.")]
Fold = Annotated[str | None, typer.Option("--fold", metavar="K|all", help="Which folds to train. Default: all.")]
Iterations = Annotated[int | None, typer.Option("--iterations", min=1, help="Instead of the plan's.")]
TimeBudget = Annotated[str | None, typer.Option("--time-budget", metavar="45m", help="Train as long as this.")]
Workers = Annotated[int | None, typer.Option("--workers", min=0, help="Augmentation processes; 0: none.")]
Patience = Annotated[
    int | None,
    typer.Option("--patience", min=1, help="End after so many examinations (5 %) without a better validation Dice."),
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Log to RUN/fold-K/tensorboard, too.")]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="On a GPU: the same bits every time; slower.")]
Gpus = Annotated[int, typer.Option("--gpus", min=1, help="Train with so many processes, one a GPU.")]
PlannedGpus = Annotated[int, typer.Option("--gpus", min=1, help="Plan for so many GPUs that train together.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the rows as JSON too.")]
Mirror = Annotated[
    bool, typer.Option("--mirror", help="Average over the mirrorings that training knew; several times slower.")
]
CleanUp = Annotated[
    bool, typer.Option("--clean-up/--no-clean-up", help="By the rules that helped on validation cases.")
]
SeriesUid = Annotated[
    str | None,
    typer.Option("--series", metavar="UID", help="Of a DICOM folder with several: SeriesInstanceUID, or its end."),
]
StatisticsFile = Annotated[
    Path | None,
    typer.Option("--statistics", metavar="FILE", help="Volumes and expected Dice, .csv or .json. Default: in OUT."),
]
PerOrgan = Annotated[bool, typer.Option("--per-organ", help="Write a mask of each organ, too: OUT/NAME/ORGAN.nii.gz.")]
Probabilities = Annotated[
    bool,
    typer.Option(
        "--probabilities", help="Write each organ's probability in percent, too: OUT/NAME/ORGAN_percent.nii.gz."
    ),
]
Preview = Annotated[bool, typer.Option("--preview", help="Write a picture, too: three planes with contours.")]
DicomSeg = Annotated[
    bool, typer.Option("--dicom-seg", help="For a DICOM series: write the mask as DICOM SEG, too (autoseg[dicom]).")
]
RtStruct = Annotated[
    bool, typer.Option("--rtstruct", help="For a DICOM series: write contours as an RT Structure Set, too.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Predict also what this model has predicted already.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Say how long each stage took.")]
Predictions = Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="Folder of masks to score.")]
References = Annotated[Path, typer.Argument(metavar="REFERENCES", help="Folder of true masks, named the same.")]
Scores = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the scores.")]
Names = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="Names of the labels: a dataset.json or plan.json."),
]
Tolerance = Annotated[
    float, typer.Option("--tolerance", metavar="MM", min=0.0, help="Of the normalised surface Dice (NSD).")
]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="A B…", help="RUNs, score files (autoseg's, nnU-Net's summary.json, a table by case), or roth2018."
    ),
]
ComparisonOut = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Write tables and a picture there, too.")
]
Metric = Annotated[str, typer.Option("--metric", metavar="NAME", help="As in scores.csv.")]
CaseName = Annotated[str, typer.Argument(metavar="CASE", help="A case of the dataset.")]
ViewOut = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Where to write. Default: RUN/report/view/CASE.html.")
]
Open = Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")]
Cases = Annotated[int, typer.Option("--cases", min=4, help="Phantoms to make.")]


def plan_options(
    preset: str | None,
    gpu_memory: float | None,
    device: str,
    seed: int,
    settings: list[str] | None,
    exclude: list[str] | None,
    folds: int,
    split: Path | None,
    measure: bool,
    time_budget: str | None = None,
    gpus: int = 1,
) -> PlanOptions:
    """Return what the user asks of `plan`.

    Raises:
        PlanError: If a setting is not KEY=VALUE, or the time no time.
    """
    from autoseg.steps.plan import PlanOptions

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
        split=split,
        measure=measure,
        gpus=gpus,
        training_s=None if time_budget is None else seconds_of(time_budget),
    )


def train_options(
    fold: str | None,
    iterations: int | None,
    time_budget: str | None,
    device: str | None,
    workers: int | None,
    patience: int | None = None,
    tensorboard: bool = False,
    deterministic: bool = False,
) -> TrainOptions:
    """Return what the user asks of `train`.

    Raises:
        PlanError: If the fold is no number, the time no time, or iterations and a time budget are both given.
    """
    from autoseg.steps.train import TrainOptions

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
        patience=patience,
        tensorboard=tensorboard,
        deterministic=deterministic,
    )


def seconds_of(text: str) -> float:
    """Return a time in seconds.

    Raises:
        PlanError: If the text is not a number with s, m, h or d behind it.

    >>> seconds_of("45m")
    2700.0
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    try:
        seconds = float(text[:-1]) * units[text[-1:]]
    except (ValueError, KeyError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise PlanError(f"--time-budget {text}: give a time as 90s, 45m, 2h or 1d")
    return seconds
