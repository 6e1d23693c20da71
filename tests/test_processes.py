"""Tests of autoseg.processes: the tracker of what processes share."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

TRACKED = """
import os, signal, sys
from multiprocessing import get_context, resource_tracker
from autoseg.processes import start_tracker

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, and so all that it starts
start_tracker()
start_tracker()  # it is there already
shared = get_context("spawn").Lock()
print(resource_tracker._resource_tracker._pid, flush=True)
sys.stdin.readline()
del shared
print(signal.pthread_sigmask(signal.SIG_BLOCK, set()), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such tracker")
def test_the_tracker_outlives_the_terminal_and_the_program_hears_of_it_as_before() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    program = subprocess.Popen([sys.executable, "-c", TRACKED], text=True, **pipes)
    assert program.stdout is not None
    tracker = psutil.Process(int(program.stdout.readline()))
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        tracker.send_signal(number)
    with suppress(psutil.TimeoutExpired):
        tracker.wait(timeout=0.5)  # were it to end, it would by now
    output, errors = program.communicate("go on\n", timeout=60)
    assert (output, errors) == ("set()\n", "")
    tracker.wait(timeout=60)  # with the program
