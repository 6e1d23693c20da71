"""A team of processes: how it is asked to end, and what is made of the way in which it ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoseg.steps.train_distributed import run_team

TEAM = """
import os, pathlib, sys, time
os.kill(os.getppid(), int(sys.argv[1]))
until = time.monotonic() + float(sys.argv[3])
while not pathlib.Path(sys.argv[2]).exists() and time.monotonic() < until:
    time.sleep(0.05)
sys.exit(3 if pathlib.Path(sys.argv[2]).exists() else 0)
"""


@pytest.fixture
def no_terminal() -> Iterator[None]:
    """Ignore SIGHUP, as nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


def ended(number: signal.Signals, stop: Path, most_s: float) -> tuple[int, int]:
    """Return how a team ended that sent this signal, and ends with 3 when it finds the stop file."""
    return run_team([sys.executable, "-c", TEAM, str(number.value), str(stop), str(most_s)], stop)


def test_a_signal_asks_by_the_stop_file_and_a_failure_then_is_told(tmp_path: Path) -> None:
    stop = tmp_path / "fold-0" / "stop"
    assert ended(signal.SIGTERM, stop, 20.0) == (3, 1)
    assert not stop.exists()


@pytest.mark.usefixtures("no_terminal")
def test_a_signal_that_nohup_ignores_ends_no_team(tmp_path: Path) -> None:
    assert ended(signal.SIGHUP, tmp_path / "stop", 1.0) == (0, 0)
