"""Whatever a stranger's file holds, only declared errors of one line come out; the long form is fuzz.py."""

from __future__ import annotations

from pathlib import Path

from faults.fuzz import fuzz


def test_changed_files_give_declared_errors_only(tmp_path: Path) -> None:
    assert fuzz(tmp_path, runs=200) == []
