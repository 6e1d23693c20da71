"""Scores of cases that are evaluated already: an evaluation that was ended goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autoseg.digests import file_digest
from autoseg.evaluation.scores import Row
from autoseg.files import write_text


class ScoreJournal:
    """The rows of each case of a fold, with a digest of what they follow from; a file of one JSON line a case.

    A line is written as soon as its case is scored, so that little is lost whenever the process ends.
    """

    def __init__(self, file: Path) -> None:
        """Read what is there; lines that are damaged, or older than another of the same case, are dropped."""
        self._file = file
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
        found = list(_lines(text))
        self._kept: dict[str, dict[str, Any]] = {line["case"]: line for line in found if line}
        if len(self._kept) < len(found) or (text and not text.endswith("\n")):
            write_text(file, "".join(map(_as_line, self._kept.values())))

    def rows(self, case: str, sources: str, mask: Path) -> list[Row] | None:
        """Return the rows of a case; None where it is not scored, or would be scored otherwise now.

        Args:
            case: Its id.
            sources: A digest of what decides on the rows.
            mask: The predicted label map, which must be as it was written.
        """
        line = self._kept.get(case)
        if line is None or not mask.is_file() or [line["sources"], line["mask"]] != [sources, file_digest(mask)]:
            return None
        return list(line["rows"])

    def keep(self, case: str, sources: str, mask: Path, rows: Sequence[Row]) -> None:
        """Keep the rows of a case whose mask is written."""
        line = {"case": case, "sources": sources, "mask": file_digest(mask), "rows": list(rows)}
        self._kept[case] = line
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(_as_line(line))


def _as_line(line: dict[str, Any]) -> str:
    return json.dumps(line, default=float) + "\n"


def _lines(text: str) -> Iterator[dict[str, Any] | None]:
    """Yield the lines of a text; None for one that is damaged."""
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        yield found if isinstance(found, dict) and {"case", "sources", "mask", "rows"} <= set(found) else None
