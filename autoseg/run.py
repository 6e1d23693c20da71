"""A RUN folder: where everything about one run lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoseg.errors import RunError
from autoseg.plan import Plan, load_plan


@dataclass(frozen=True)
class Run:
    """The paths of a RUN; it can be moved as a whole."""

    folder: Path

    @property
    def plan_file(self) -> Path:
        """The plan, which may be edited."""
        return self.folder / "plan.json"

    @property
    def dataset_file(self) -> Path:
        """Where the dataset lies, with the options of `plan`."""
        return self.folder / "dataset.json"

    @property
    def fingerprint_file(self) -> Path:
        """The dataset in numbers."""
        return self.folder / "fingerprint.json"

    @property
    def split_file(self) -> Path:
        """Training, validation and testing cases of each fold."""
        return self.folder / "split.json"

    @property
    def stop_file(self) -> Path:
        """A file that the user makes to end a training early, with a usable model."""
        return self.folder / "stop"

    @property
    def cache(self) -> Path:
        """The resampled, normalised cases."""
        return self.folder / "cache"

    @property
    def scores_file(self) -> Path:
        """All scores, one row each."""
        return self.folder / "scores.csv"

    @property
    def report(self) -> Path:
        """Tables, curves, report.html."""
        return self.folder / "report"

    def fold(self, number: int) -> Path:
        """The folder of one fold's training."""
        return self.folder / f"fold-{number}"

    def folds(self) -> tuple[int, ...]:
        """Return the folds that have a model."""
        found = (p.parent.name.removeprefix("fold-") for p in self.folder.glob("fold-*/model.autoseg"))
        return tuple(sorted(int(n) for n in found if n.isdigit()))

    def plan(self) -> Plan:
        """Read the plan.

        Raises:
            RunError: If the folder is not a RUN.
            PlanError: If the plan is not valid.
        """
        if not self.plan_file.is_file():
            raise RunError(
                f"{self.folder}: not a RUN (no plan.json); make one with `autoseg plan DATASET {self.folder}`"
            )
        return load_plan(self.plan_file)
