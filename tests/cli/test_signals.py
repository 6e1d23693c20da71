"""SIGTERM, SIGHUP and Ctrl-C, as a user's terminal or a cluster sends them: one line, 130, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from command_line import copy_of

from autoseg.processes import ENDING

ROOT = Path(__file__).parents[2]


def started(*arguments: object, before: Callable[[], object] | None = None) -> subprocess.Popen[str]:
    """Start autoseg in a session of its own."""
    command = [sys.executable, "-m", "autoseg", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=before,
    )


def heeds_all() -> None:
    """Undo what a shell's & or nohup has told the tests, and so all that they start, to ignore."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def until(is_so: Callable[[], object], seconds: float = 60) -> None:
    last = time.monotonic() + seconds
    while not is_so() and time.monotonic() < last:
        time.sleep(0.02)


def workers_of(program: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        children = psutil.Process(program.pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_verb_and_its_workers_with_130_and_one_line(
    number: signal.Signals, cohort: Path, finished: Path, tmp_path: Path
) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    for file in (run / "cache").iterdir():
        file.unlink()
    program = started("preprocess", run, "-j", "2", before=heeds_all)
    until(lambda: len(workers_of(program)) == 2 or program.poll() is not None)
    workers = workers_of(program)
    program.send_signal(number)
    output, _ = program.communicate(timeout=60)
    assert program.returncode == 130
    assert [line for line in output.splitlines() if line.strip()][-1] == (
        "preprocess: interrupted; what was finished is kept, the same command goes on"
    )
    assert "Traceback" not in output
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
    assert not [file.name for file in (run / "cache").glob(".*")]


def test_a_program_under_nohup_outlives_the_terminal(cohort: Path) -> None:
    program = started("check", cohort, "-j", "2", before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    until(lambda: workers_of(program))
    assert program.poll() is None
    os.kill(program.pid, signal.SIGHUP)
    program.communicate(timeout=120)
    assert program.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_changes_nothing_once_a_verb_has_ended(number: signal.Signals) -> None:
    lines = [
        "import atexit, sys, time",
        "atexit.register(lambda: (print('cleaning up', flush=True), time.sleep(1)))",
        "from autoseg.cli.app import main",
        "sys.argv = ['autoseg', '--version']",
        "main()",
    ]
    program = subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heeds_all,
    )
    assert program.stdout is not None
    until(lambda: program.stdout.readline() in ("cleaning up\n", ""))
    program.send_signal(number)
    assert program.communicate(timeout=60)[0] == ""
    assert program.returncode == 0
