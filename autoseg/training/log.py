"""The log of a fold: log.csv with a row for each iteration, TensorBoard where asked for, and curves.png.

A resumed run continues the log as if it had never stopped.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self, TextIO

import pandas as pd

from autoseg.errors import PlanError
from autoseg.figures.canvas import PNG, Kinds, save_figure
from autoseg.figures.curves import curves_figure
from autoseg.files import write_text
from autoseg.run import FoldFolder
from autoseg.sheet import as_written, harmless

COLUMNS = ("iteration", "loss", "gradient_norm", "learning_rate", "seconds", "wait_share")
EXAMINED = ("validation", "testing")
MOST_DIGITS = 12  # of the number of an iteration


class Log:
    """Appends rows to log.csv, and to TensorBoard where asked for."""

    def __init__(self, files: FoldFolder, organs: Sequence[str], done: int, tensorboard: bool, silent: bool) -> None:
        """Keep the first `done` iterations of an existing log and go on after them.

        Args:
            files: Of the fold.
            organs: Names in label order.
            done: Iterations to keep.
            tensorboard: Whether to write for TensorBoard, too.
            silent: Whether to write nothing at all: another process does.

        Raises:
            PlanError: If TensorBoard is asked for and not installed.
        """
        dice = [f"dice_{split}_{organ}" for split in EXAMINED for organ in organs]
        self.columns = (*COLUMNS, *(f"loss_{split}" for split in EXAMINED), *dice)
        self._stream: TextIO | None = None
        self._board = _Board(files.tensorboard, done) if tensorboard and not silent else None
        if silent:
            return
        earlier = [row for row in read_rows(files.log) if int(row["iteration"]) <= done] if done else []
        lines = [",".join(_quoted(harmless(c)) for c in self.columns)]
        lines += [",".join(row.get(c) or "" for c in self.columns) for row in earlier]
        write_text(files.log, "\n".join(lines) + "\n")
        self._stream = files.log.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream, lineterminator="\n")

    def add(self, row: Mapping[str, float]) -> None:
        """Append one row; columns that it lacks stay blank."""
        if self._stream:
            self._writer.writerow([_field(row.get(c)) for c in self.columns])
        if self._board:
            self._board.add(row)

    def flush(self) -> None:
        """Bring all rows to the disk."""
        if self._stream:
            self._stream.flush()

    def __enter__(self) -> Self:
        """Give the log."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it; what no longer fits on a full disk is left out, it is done again after the checkpoint."""
        with suppress(OSError):
            if self._stream:
                self._stream.close()
        if self._board:
            self._board.close()


def read_rows(file: Path) -> list[dict[str, str]]:
    """Return the complete rows of a log, oldest first; none where there is no log."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", errors="replace", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if None not in (*row, *row.values()) and _is_count(row)]
    return [{as_written(column): cell for column, cell in row.items()} for row in rows]


def _is_count(row: Mapping[str, str]) -> bool:
    digits = row.get("iteration", "")
    return digits.isdecimal() and len(digits) <= MOST_DIGITS


def draw_curves(
    log_file: Path, organs: Sequence[str], out: Path, cases: Mapping[str, int], kinds: Kinds = PNG
) -> list[Path]:
    """Draw the log of a fold; return the files written, none where there is no log yet.

    Args:
        log_file: Of the fold.
        organs: Names in label order.
        out: Path without suffix.
        cases: Split to the number of its cases that are examined.
        kinds: Of file.
    """
    rows = read_rows(log_file)
    if not rows:
        return []
    log = pd.DataFrame(rows).apply(pd.to_numeric, errors="coerce")
    return save_figure(curves_figure(log, organs, cases), out, kinds)


class _Board:
    """Writes the log's columns as scalars into event files, which `tensorboard --logdir RUN` shows."""

    def __init__(self, folder: Path, done: int) -> None:
        """Go on after iteration `done`; what was written beyond it is hidden.

        Raises:
            PlanError: If the package is missing.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise PlanError(
                "--tensorboard: the package tensorboard is not installed; run pip install tensorboard"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=done + 1)

    def add(self, row: Mapping[str, float]) -> None:
        """Write one iteration; the column dice_testing_liver becomes the tag dice_testing/liver."""
        for column, value in row.items():
            if column != "iteration" and not math.isnan(value):
                kind, *rest = column.split("_", 2)
                tag = f"{kind}_{rest[0]}/{rest[1]}" if kind == "dice" else column
                self._writer.add_scalar(tag, value, int(row["iteration"]))

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"' if set(column) & set(',"\n') else column


def _field(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"
