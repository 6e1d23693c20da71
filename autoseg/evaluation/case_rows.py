"""The rows of scores.csv of very many cases: of each its values are held, and what they are of once for all."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from autoseg.evaluation.scores import Row

Of = tuple[tuple[tuple[str, Any], ...], ...]  # column to cell of each row, but for its case and its value


class CaseRows:
    """Rows in the order of their cases' names and of their labels, taken a case at a time in any order."""

    def __init__(self) -> None:
        """Hold no row."""
        self._known: dict[Of, Of] = {}
        self._cases: dict[str, tuple[Of, array[float]]] = {}

    def add(self, rows: Sequence[Row]) -> None:
        """Take all rows of one case; where it has none it is no case of these."""
        if not rows:
            return
        ordered = sorted(rows, key=lambda row: row["label"])
        of = tuple(tuple((k, cell) for k, cell in row.items() if k not in ("case", "value")) for row in ordered)
        values = array("d", (math.nan if row["value"] is None else row["value"] for row in ordered))
        self._cases[rows[0]["case"]] = self._known.setdefault(of, of), values

    @property
    def cases(self) -> int:
        """How many cases there are."""
        return len(self._cases)

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(len(of) for of, _ in self._cases.values())

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows; an undefined value is None."""
        for case, (of, values) in sorted(self._cases.items(), key=lambda item: item[0]):
            for cells, value in zip(of, values, strict=True):
                yield {**dict(cells), "case": case, "value": None if math.isnan(value) else value}
