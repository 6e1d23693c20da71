"""The options of every verb: dataclasses whose fields carry their flag, help and limits.

An option is written here and nowhere else. What the command line asks for (cli/parameters.py) and the arguments that
the processes of a team get (`flags.arguments_of`) follow from the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.errors import PlanError
from autoseg.flags import option
from autoseg.metrics import TOLERANCE_MM
from autoseg.notations import FOLD, NAMES, PART, SETTINGS, TIME
from autoseg.parts import Part

_DEVICES = "auto|cpu|cuda|mps"


def _jobs() -> Any:
    return option(None, "-j", "--jobs", least=1, decides=False, help="Processes. Default: one a core.")


def _cluster(excludes: str | None = None) -> Any:
    return option(
        None, "--cluster", metavar="ADDRESS|FILE", excludes=excludes, decides=False,
        help="Let the workers of this Dask scheduler do it: its address, or its file (pip install '.[cluster]').",
    )  # fmt: skip


def _part() -> Any:
    return option(
        None, "--part", metavar="K/N", notation=PART, decides=False,
        help="Do a share of the cases, as task K of an array of N; a last call without it gathers.",
    )  # fmt: skip


def _no_part(help: str, refusal: str) -> Any:  # noqa: A002 - the word of the command line
    """Return the option --part of a verb that has none: a line says what to do in its place."""
    return option(None, "--part", metavar="K/N", notation=PART, decides=False, help=help, refusal=refusal)


def _device() -> Any:
    return option("auto", "--device", metavar=_DEVICES, help="Where to compute.")


def _tolerance() -> Any:
    return option(TOLERANCE_MM, "--tolerance", metavar="MM", least=0.0, help="Of the normalised surface Dice (NSD).")


def _time_budget(excludes: str | None = None) -> Any:
    return option(
        None, "--time-budget", metavar="45m", notation=TIME, excludes=excludes, decides=False,
        help="Train for this long, each fold: 90s, 45m, 2h or 1d.",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What the user asks of `check`."""

    json: Path | None = option(None, "--json", metavar="FILE", help="Write the rows as JSON too.")
    labels: Path | None = option(
        None, "--labels", metavar="FILE", help="Write the names in the label maps as a labels.csv to be edited."
    )
    jobs: int | None = _jobs()
    part: Part | None = _part()
    cluster: str | None = _cluster(excludes="--jobs")


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What the user asks of `plan`."""

    preset: str | None = option(None, "--preset", metavar="NAME|FILE", help="Settings of roth2018, or of a plan file.")
    gpu_memory_gib: float | None = option(None, "--gpu-memory", metavar="GIB", help="Plan for a GPU of this memory.")
    device: str = _device()
    seed: int = option(0, "--seed", least=0, help="Decides split, initial weights and every crop.")
    settings: Mapping[str, str] = option(
        dict, "--set", metavar="KEY=VALUE", notation=SETTINGS, help="Change a key of the plan."
    )
    exclude: tuple[str, ...] = option((), "--exclude", metavar="CASE", notation=NAMES, help="Leave a case out.")
    folds: int = option(1, "--folds", least=1, help="Folds of a cross-validation; 1: one split.")
    split: Path | None = option(
        None, "--split", metavar="FILE", help="Which cases train and test: JSON as split.json, or CSV."
    )
    stages: int | None = option(
        None, "--stages", least=1, help="2: look again at organs that the grid costs much, finely, in a box; 1: never."
    )
    measure: bool = option(
        False, "--measure", decides=False, help="Run real iterations and write their time into plan.md."
    )
    time_budget_s: float | None = _time_budget()  # None: on a CPU the iterations are those that fit 36 minutes
    gpus: int = option(1, "--gpus", least=1, decides=False, help="Plan for so many GPUs that train together.")
    force: bool = option(False, "--force", decides=False, help="Overwrite a plan that was edited.")
    jobs: int | None = _jobs()
    part: Part | None = _part()
    cluster: str | None = _cluster(excludes="--jobs")
    iterations: int | None = None  # of the training that follows, where `run` knows it already

    def require_compatible(self) -> None:
        """Refuse options that exclude each other.

        Raises:
            PlanError: If there are any.
        """
        if self.time_budget_s is not None and "iterations" in self.settings:
            raise PlanError(
                "--time-budget and --set iterations exclude each other: the time says how many fit; give one"
            )
        if self.gpu_memory_gib is not None and self.device not in ("auto", "cuda"):
            raise PlanError(f"--gpu-memory plans for CUDA and --device {self.device} does not; give one of them")
        if self.stages is not None and self.stages > 2:
            raise PlanError(f"--stages {self.stages}: a plan has one stage or two; give 2")
        if self.split is not None and self.folds > 1:
            raise PlanError("--split and --folds exclude each other: the file says the folds; give one")


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions:
    """What the user asks of `preprocess`."""

    jobs: int | None = _jobs()
    cluster: str | None = _cluster(excludes="--jobs")
    part: Part | None = _part()


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What the user asks of `train`."""

    folds: tuple[int, ...] | None = option(
        None, "--fold", metavar="K|all", notation=FOLD, help="Which folds to train. Default: all."
    )
    iterations: int | None = option(None, "--iterations", least=1, help="Instead of the plan's.")
    time_budget_s: float | None = _time_budget(excludes="--iterations")
    device: str | None = option(None, "--device", metavar=_DEVICES, help="Default: the plan's.")
    workers: int | None = option(None, "--workers", least=0, help="Augmentation processes; 0: none.")
    patience: int | None = option(
        None, "--patience", least=1, help="End after N validations (some 20 in all) that are no better."
    )
    tensorboard: bool = option(False, "--tensorboard", help="Log to RUN/fold-K/tensorboard, too.")
    deterministic: bool = option(False, "--deterministic", help="On a GPU: the same bits every time; slower.")
    gpus: int = option(1, "--gpus", least=1, help="Train with so many processes, one a GPU.")
    later_iterations: int | None = None  # of a second stage, where they are not `iterations`, too


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What the user asks of `predict`."""

    device: str = _device()
    mirror: bool = option(
        False, "--mirror", help="Average over the mirrorings that training knew; several times slower."
    )
    cleanup: bool = option(
        True, "--clean-up/--no-clean-up", help="Clean up by the rules that helped on validation cases."
    )
    series: str | None = option(
        None, "--series", metavar="UID", help="Of a DICOM folder with several: SeriesInstanceUID, or its end."
    )
    statistics: Path | None = option(
        None,
        "--statistics",
        metavar="FILE",
        help="Volumes and expected Dice: .csv or .json. Default: OUT/predictions.csv.",
    )
    per_organ: bool = option(False, "--per-organ", help="Write a mask of each organ, too: OUT/NAME/ORGAN.nii.gz.")
    probabilities: bool = option(
        False,
        "--probabilities",
        help="Write each organ's probability in percent, too, into OUT/NAME.",
    )
    preview: bool = option(False, "--preview", help="Write a picture, too: three planes with contours.")
    dicom_seg: bool = option(
        False, "--dicom-seg", help="For a DICOM series: write the mask as DICOM SEG, too (pip install '.[dicom]')."
    )
    rtstruct: bool = option(False, "--rtstruct", help="For a DICOM series: write contours as an RT Structure Set, too.")
    part: Part | None = _part()
    cluster: str | None = _cluster()
    overwrite: bool = option(False, "--overwrite", help="Predict again where this model's mask is there.")
    verbose: bool = option(False, "--verbose", help="Say how long each stage took.")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What the user asks of `evaluate`."""

    device: str = _device()
    tolerance_mm: float = _tolerance()
    dataset: Path | None = option(
        None, "--dataset", metavar="OTHER", help="Evaluate on another dataset instead: an external test."
    )
    stress: bool = option(False, "--stress", help="Evaluate testing cases with noise, blur, shifts and flips instead.")
    part: Part | None = _part()
    cluster: str | None = _cluster()


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What the user asks of `score`."""

    out: Path = option(Path("scores.csv"), "--out", metavar="FILE", help="Where to write the scores.")
    labels: Path | None = option(
        None, "--labels", metavar="FILE", help="Names of the labels: a dataset.json or plan.json."
    )
    common: bool = option(False, "--common", help="Leave out references that have no prediction.")
    instances: bool = option(
        False, "--instances", help="Tell of each piece of an organ, as a lesion, too; a row each in OUT_instances.csv."
    )
    tolerance_mm: float = _tolerance()
    jobs: int | None = _jobs()
    part: Part | None = _part()
    cluster: str | None = _cluster(excludes="--jobs")


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What the user asks of `compare`."""

    metric: str = option("dice", "--metric", metavar="NAME", help="dice, iou, hd95_mm and others, as in scores.csv.")
    out: Path | None = option(None, "--out", metavar="FOLDER", help="Write tables and a picture there, too.")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What the user asks of `report`."""

    beside: str | None = option(
        None,
        "--beside",
        metavar="roth2018",
        help="Show a published table, too; a run of that preset does.",
    )
    observers: Path | None = option(
        None, "--observers", metavar="FILE", help="Show the scores of one reader against another, too."
    )
    pdf: bool = option(False, "--pdf", help="Print the page to report.pdf, too; needs Chromium or Chrome.")
    jobs: int | None = _jobs()
    cluster: str | None = _cluster(excludes="--jobs")
    part: Part | None = _no_part(
        help="Not here: a report draws 60 cases at most; -j or --cluster shares them.",
        refusal="a report draws 60 cases at most, which one call does; leave it out, and give -j or --cluster",
    )


@dataclass(frozen=True, kw_only=True)
class RepeatOptions:
    """What the user asks of `run` alone."""

    repeat: int = option(
        1,
        "--repeat",
        metavar="N",
        least=1,
        decides=False,
        help="Train N times, with other seeds, for the spread.",
    )
    part: Part | None = _no_part(
        help="Not here: give it to plan, preprocess and evaluate, each with a call that gathers, and train between.",
        refusal="each step of `run` needs the whole of the one before; give it to plan, preprocess and evaluate, with "
        "a call that gathers after each, and train between them, or give `run` --cluster",
    )


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """What the user asks of `view`."""

    all: bool = option(False, "--all", help="Write the pages of all predicted cases, linked to each other.")
    out: Path | None = option(
        None, "--out", metavar="FILE", help="Where to write, a folder for --all. Default: RUN/report/view/CASE.html."
    )
    open: bool = option(True, "--open/--no-open", help="Open it in the browser.")


@dataclass(frozen=True, kw_only=True)
class CohortOptions:
    """What the user asks of the phantoms that `demo` makes."""

    cases: int = option(24, "--cases", least=4, help="Phantoms to make.")
