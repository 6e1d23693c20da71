"""Write the tables of an evaluation, scores.csv and reliability.csv, fold by fold out of the folds' journals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.dataset.split import SIDES
from autoseg.evaluation.freshness import ScoreJournal
from autoseg.evaluation.reliability import write_reliability
from autoseg.evaluation.scores import Row, write_scores
from autoseg.run import Run

State = tuple[int, int]  # of a file: its size, when it was changed in ns
Write = Callable[[Iterable[Row], Path, bool], None]


@dataclass(frozen=True, kw_only=True)
class EvaluatedFold:
    """The cases of a fold that have scores."""

    journal: ScoreJournal
    cases: Sequence[tuple[str, str]]  # side and case, as they were predicted

    def scores(self) -> Iterator[Row]:
        """Yield the rows of scores.csv, training cases first."""
        for _, case in sorted(self.cases, key=lambda one: SIDES.index(one[0])):
            yield from self.journal.scored(case)

    def reliability(self) -> Iterator[Row]:
        """Yield the rows of reliability.csv, cases as they were predicted."""
        for _, case in self.cases:
            yield from self.journal.reliability(case)


class Tables:
    """Tables that get the rows of one fold below those of another, which may take hours to come.

    A table that is not as this process left it, since it was removed or edited meanwhile, is written with all folds.
    """

    def __init__(self, run: Run) -> None:
        """Begin with no fold; the files stay until the first is added."""
        self._run = run
        self._folds: list[EvaluatedFold] = []
        self._left: dict[Path, State | None] = {}

    def add(self, fold: EvaluatedFold) -> None:
        """Write the rows of a fold below those of earlier ones.

        Raises:
            OSError: If the disk is full; the table is then as it was.
        """
        self._folds.append(fold)
        self._write(self._run.reliability_file, write_reliability, EvaluatedFold.reliability)
        self._write(self._run.scores_file, write_scores, EvaluatedFold.scores)

    def _write(self, file: Path, write: Write, rows_of: Callable[[EvaluatedFold], Iterator[Row]]) -> None:
        anew = file not in self._left or self._left[file] != _state(file)
        folds = self._folds if anew else self._folds[-1:]
        write((row for fold in folds for row in rows_of(fold)), file, anew)
        self._left[file] = _state(file)


def _state(file: Path) -> State | None:
    """Return the state of a file; None where there is none."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
