"""What came of a disturbed run: in what it differs from one that nothing disturbed, and what it has left."""

from __future__ import annotations

import csv
import io
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from autoseg.files import LEFTOVER

logger = logging.getLogger(__name__)
TIMES = {"seconds", "wait_share"}  # columns of log.csv that no two runs share
OF_THE_PROCESS = {"log.txt", "digests.json", "timings.json"}  # commands, what was read when, how long it took
LOCKS = {"lock", ".lock"}
VOLATILE = (
    re.compile(rb"\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?( [A-Z]{3,4})?"),
    re.compile(rb"its steps took [^.<]*"),
    re.compile(rb"\d+(\.\d+)?( of the \d+(\.\d+)?)? (s|min|h|GiB)\b"),  # how long it took, and what the memory has free
)
KINDS = ("lost", "hung", "corrupt", "left over", "unclear")  # unclear: a traceback, or a wrong exit code


@dataclass
class Tally:
    """How often a fault was made, and what went wrong."""

    fault: str
    count: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)  # kind and what it was

    def add(self, about: str) -> None:
        """Count a fault that was made."""
        self.count += 1
        logger.info("%s: %s (%d)", self.fault, about, self.count)

    def note(self, kind: str, what: str) -> None:
        """Note something that went wrong."""
        self.wrong.append((kind, what))
        logger.warning("%s: %s: %s", self.fault, kind, what)

    def line(self) -> str:
        """Return a row for the table of docs/reliability.md."""
        kinds = ", ".join(f"{sum(kind == one for kind, _ in self.wrong)} {one}" for one in KINDS)
        return "\n".join([f"| {self.fault} | {self.count} | {kinds} |", *(f"  {k}: {what}" for k, what in self.wrong)])


def differences(expected: Path, actual: Path) -> list[str]:
    """Return a line for each file that is missing, too many, or other than expected."""
    files, others = ({p.relative_to(folder): p for p in _files(folder)} for folder in (expected, actual))
    lines = [f"{name} is missing" for name in sorted(files.keys() - others.keys())]
    lines += [f"{name} is too many" for name in sorted(others.keys() - files.keys()) if not _is_left(name)]
    same = sorted(files.keys() & others.keys())
    return lines + [f"{name} differs" for name in same if _content(files[name]) != _content(others[name])]


def leftovers(folder: Path) -> list[str]:
    """Return the half-written files and locks below a folder."""
    return [str(path.relative_to(folder)) for path in _files(folder) if _is_left(path)]


def _is_left(path: Path) -> bool:
    return path.name in LOCKS or LEFTOVER.fullmatch(path.name) is not None


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _content(file: Path) -> object:
    """Return what of a file must be the same."""
    data = file.read_bytes()
    if file.name in OF_THE_PROCESS:
        return None
    if file.name == "log.csv":
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(io.StringIO(data.decode()))]
    if file.name in ("predictions.csv", "evaluated.jsonl"):
        return sorted(data.splitlines())  # a case that is done again comes last
    if file.name in ("report.html", "plan.md"):
        for pattern in VOLATILE:
            data = pattern.sub(b"TIME", data)
    return data
