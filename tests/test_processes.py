"""Tests of autoseg.processes: the tracker of what processes share, and flags."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from threading import Thread

import psutil
import pytest
from waiting import wait_for_flag

from autoseg.processes import SharedFlag

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


@contextmanager
def asking(flag: SharedFlag) -> Iterator[BaseProcess]:
    """Give a process that asks a flag, over and over, until it is set."""
    begun = SharedFlag()
    process = get_context("spawn").Process(target=wait_for_flag, args=(flag, begun), daemon=True)
    process.start()
    try:
        while not begun.is_set():
            assert process.is_alive()
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.join()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows stops no process")
def test_a_process_that_is_stopped_while_it_asks_a_flag_keeps_nobody_from_it() -> None:
    flag = SharedFlag()
    with asking(flag) as process:
        for _ in range(50):
            os.kill(process.pid or 0, signal.SIGSTOP)
            clearing = Thread(target=flag.clear, daemon=True)
            clearing.start()
            clearing.join(10)
            assert not clearing.is_alive()
            os.kill(process.pid or 0, signal.SIGCONT)
            time.sleep(0.01)


def test_a_flag_is_heard_by_another_process() -> None:
    flag = SharedFlag()
    flag.set()
    flag.clear()
    with asking(flag) as process:
        time.sleep(0.2)
        assert process.is_alive()
        flag.set()
        process.join(60)
        assert process.exitcode == 0
