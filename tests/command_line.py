"""What tests of the command line share: how a call is made small, and what an error looks like."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

STEP = ("--device", "cpu", "--set", "spacing_mm=[6,6,6]", "--set", "crop_size=[16,32,32]")
SMALL = (*STEP, "--iterations", "4", "-j", "1")  # for `run`
SMALL_PLAN = (
    *STEP,
    "--set",
    "iterations=4",
    "-j",
    "1",
)  # for `plan`; of a length that is told, so nothing is measured
Outcome = tuple[int, str, str]  # exit code, standard output, standard error
Cli = Callable[..., Outcome]


def copy_of(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def assert_one_line(outcome: Outcome, *parts: str, code: int = 1) -> None:
    exit_code, _, err = outcome
    assert exit_code == code
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    for part in parts:
        assert part in err
