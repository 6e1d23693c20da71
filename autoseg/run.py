"""A RUN folder: where everything about one run lies. No other module but `report_folder` knows names of its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autoseg.errors import RunError
from autoseg.files import remove_leftovers
from autoseg.parts import Folds, Part, lock_part
from autoseg.plan import Plan, load_plan
from autoseg.report_folder import ReportFolder

MASK_SUFFIX = ".nii.gz"  # of a predicted label map, where the user names no file


@dataclass(frozen=True)
class FoldFolder:
    """The paths of one fold's training and evaluation."""

    folder: Path

    @property
    def model(self) -> Path:
        """The model to predict with."""
        return self.folder / "model.autoseg"

    @property
    def checkpoint(self) -> Path:
        """What a training goes on from."""
        return self.folder / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        """The numbers of the training, a row an iteration."""
        return self.folder / "log.csv"

    @property
    def tensorboard(self) -> Path:
        """The folder of the log for TensorBoard."""
        return self.folder / "tensorboard"

    @property
    def curves(self) -> Path:
        """The learning curves, without suffix."""
        return self.folder / "curves"

    @property
    def predictions(self) -> Path:
        """The folder of predicted label maps."""
        return self.folder / "predictions"

    @property
    def evaluated(self) -> Path:
        """The scores of the cases that are evaluated already, a line a case."""
        return self.folder / "evaluated.jsonl"

    @property
    def stop_file(self) -> Path:
        """Created by the user to end the `train` early that trains this fold."""
        return self.folder / "stop"

    @property
    def cases(self) -> Path:
        """The folder of what a second stage sees of each case, which depends on the fold's first stage."""
        return self.folder / "cases"

    def prediction(self, case_id: str) -> Path:
        """Return the file of a case's predicted label map."""
        return self.predictions / f"{case_id}{MASK_SUFFIX}"


@dataclass(frozen=True)
class ExternalFolder:
    """The paths of an evaluation on another dataset."""

    folder: Path

    @property
    def source_file(self) -> Path:
        """Which dataset it is, and the patients of its cases."""
        return self.folder / "source.json"

    @property
    def scores_file(self) -> Path:
        """Its scores."""
        return self.folder / "scores.csv"

    @property
    def evaluated(self) -> Path:
        """The journal of the cases that are scored."""
        return self.folder / "evaluated.jsonl"

    @property
    def predictions(self) -> Path:
        """The folder of its predicted label maps."""
        return self.folder / "predictions"


@dataclass(frozen=True)
class StageFolder:
    """The paths of one stage: its cached cases and its folds."""

    folder: Path

    @property
    def cache(self) -> Path:
        """The folder of the resampled, normalised cases."""
        return self.folder / "cache"

    def fold(self, number: int) -> FoldFolder:
        """Return the folder of one fold, which may not be there yet."""
        return FoldFolder(self.folder / f"fold-{number}")

    def fold_folders(self) -> dict[int, FoldFolder]:
        """Return the folders of the folds that are begun, by number."""
        numbers = (path.name.removeprefix("fold-") for path in self.folder.glob("fold-*"))
        return {number: self.fold(number) for number in sorted(int(n) for n in numbers if n.isdecimal())}

    def folds(self) -> tuple[int, ...]:
        """Return the numbers of the folds that have a model."""
        return tuple(number for number, fold in self.fold_folders().items() if fold.model.is_file())


@dataclass(frozen=True)
class Run(StageFolder):
    """The paths of a RUN; it can be moved as a whole. It holds its first stage; a second has a folder of its own."""

    @property
    def plan_file(self) -> Path:
        """The plan, which may be edited."""
        return self.folder / "plan.json"

    @property
    def plan_text_file(self) -> Path:
        """The plan explained in words."""
        return self.folder / "plan.md"

    @property
    def dataset_file(self) -> Path:
        """Where the dataset lies, with the options of `plan`."""
        return self.folder / "dataset.json"

    @property
    def check_file(self) -> Path:
        """What the check of the dataset reports."""
        return self.folder / "check.json"

    @property
    def fingerprint_file(self) -> Path:
        """The dataset in numbers."""
        return self.folder / "fingerprint.json"

    @property
    def split_file(self) -> Path:
        """Training, validation and testing cases of each fold."""
        return self.folder / "split.json"

    @property
    def log_file(self) -> Path:
        """The commands, warnings and errors."""
        return self.folder / "log.txt"

    @property
    def timings_file(self) -> Path:
        """How long each verb has worked, and where."""
        return self.folder / "timings.json"

    @property
    def digests_file(self) -> Path:
        """What was read of files, and what the scores were made from, as digests; it may be lost without harm."""
        return self.folder / "digests.json"

    @property
    def stop_file(self) -> Path:
        """A file that the user makes to end a training early, with a usable model."""
        return self.folder / "stop"

    @property
    def phantoms(self) -> Path:
        """The folder of the dataset that `demo` makes."""
        return self.folder / "phantoms"

    @property
    def scores_file(self) -> Path:
        """All scores, one row each."""
        return self.folder / "scores.csv"

    @property
    def reliability_file(self) -> Path:
        """How often the probabilities of the networks were right, for each case."""
        return self.folder / "reliability.csv"

    @property
    def stress_file(self) -> Path:
        """The Dice of testing cases whose images were changed."""
        return self.folder / "stress.csv"

    def external(self, name: str) -> ExternalFolder:
        """Return the folder of the evaluation on another dataset."""
        return ExternalFolder(self.folder / "external" / name)

    def externals(self) -> dict[str, ExternalFolder]:
        """Return the evaluations on other datasets that have scores, by name."""
        files = sorted((self.folder / "external").glob("*/scores.csv"))
        return {file.parent.name: ExternalFolder(file.parent) for file in files}

    def repetition(self, number: int) -> Run:
        """Return the RUN of the same plan with another seed, counted from 1."""
        return Run(self.folder / f"repeat-{number}")

    def repetitions(self) -> tuple[Run, ...]:
        """Return the repetitions that are there, by number."""
        numbers = (path.name.removeprefix("repeat-") for path in self.folder.glob("repeat-*"))
        return tuple(self.repetition(n) for n in sorted(int(number) for number in numbers if number.isdecimal()))

    @property
    def report(self) -> ReportFolder:
        """Tables, curves, the page."""
        return ReportFolder(self.folder / "report")

    @contextmanager
    def locked(self, verb: str, part: Part | Folds | None = None) -> Iterator[None]:
        """Be the one process that writes to the RUN; remove first what killed ones have left.

        Args:
            verb: That writes, as in "train".
            part: Of its work that this process does, beside others that do other parts.

        Raises:
            LockedError: If another process writes to it; the text says who.
            RunError: If there is a file in its place.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise RunError(f"{self.folder}: RUN must be a folder, and this is a file; give another name")
        with lock_part(self.folder, f"autoseg {verb}", part):
            for folder in filter(Path.is_dir, self._written_folders()):
                remove_leftovers(folder)
            yield

    def _written_folders(self) -> Iterator[Path]:
        yield from (self.folder, self.report.folder, self.report.cases, self.report.surfaces, self.report.views)
        yield from self.report.organs.glob("*")
        for stage in (self, *(StageFolder(path) for path in self.folder.glob("stage-*"))):
            yield stage.cache
            for fold in stage.fold_folders().values():
                yield from (fold.folder, fold.predictions, fold.cases)

    def stage(self, number: int) -> StageFolder:
        """Return the folder of one stage, counted from 0: the first lies in the RUN itself."""
        return self if number == 0 else StageFolder(self.folder / f"stage-{number}")

    def plan(self) -> Plan:
        """Read the plan.

        Raises:
            RunError: If the folder is not a RUN.
            PlanError: If the plan is not valid.
        """
        if not self.plan_file.is_file():
            raise RunError(
                f"{self.folder}: a dataset, not a RUN; give the RUN that was planned for it"
                if self.dataset_file.is_file()
                else f"{self.folder}: not a RUN (no plan.json); make one with `autoseg plan DATASET {self.folder}`"
            )
        return load_plan(self.plan_file)
