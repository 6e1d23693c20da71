"""Remarks: what a reader noticed about a file that it could read all the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Remark:
    """One thing worth knowing of a file; `check` shows it as a row, `predict` as a warning."""

    code: str  # short and stable, as in "orientation-unknown"
    found: str
    fix: str
    is_doubtful: bool = False  # whether the file may mean something else; else it is only good to know
