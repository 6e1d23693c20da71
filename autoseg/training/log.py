"""log.csv: one row an iteration; a resumed run continues it as if it had never stopped."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from autoseg.files import write_text

COLUMNS = ("iteration", "loss", "learning_rate", "seconds", "wait_share")


class Log:
    """Appends rows to log.csv."""

    def __init__(self, file: Path, organs: Sequence[str], done: int) -> None:
        """Keep the first `done` iterations of an existing log and go on after them."""
        self.columns = (*COLUMNS, *(f"dice_validation_{organ}" for organ in organs))
        kept = [row for row in read_rows(file) if int(row["iteration"]) <= done] if done else []
        lines = [",".join(_quoted(c) for c in self.columns)]
        lines += [",".join(row.get(c) or "" for c in self.columns) for row in kept]
        write_text(file, "\n".join(lines) + "\n")
        self._stream: TextIO = file.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream, lineterminator="\n")

    def add(self, row: Mapping[str, float]) -> None:
        """Append one row; columns that it lacks stay blank."""
        self._writer.writerow([_shown(row.get(c)) for c in self.columns])

    def flush(self) -> None:
        """Bring all rows to the disk."""
        self._stream.flush()

    def close(self) -> None:
        """Flush and close."""
        self._stream.close()


def read_rows(file: Path) -> list[dict[str, str]]:
    """Return the complete rows of a log, oldest first; none where there is no log."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if None not in row.values() and row["iteration"].isdigit()]


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"' if set(column) & set(',"\n') else column


def _shown(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"
