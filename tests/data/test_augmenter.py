"""Augmentation processes that are killed while they write: nothing hangs, and no batch is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import made
import numpy as np
import pytest

from autoseg import processes
from autoseg.data.batches import open_batches
from autoseg.data.cache import CachedCase
from autoseg.plan import Plan

LARGE: Plan = made.plan(crop_size=(48, 48, 48), batch_size=4)  # 2 MB a batch: far more than a pipe holds


@pytest.fixture
def cases(tmp_path: Path) -> tuple[CachedCase, ...]:
    return made.easy_cases(tmp_path, 4)


def within(seconds: float, do: Callable[[], None]) -> None:
    """Run something in a thread that may be left behind; fail if it takes longer."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:  # noqa: BLE001 - told to the test below
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    if failed:
        raise failed[0]


def wait_until_they_write() -> None:
    time.sleep(2)  # all queues are full, and every process is in the middle of a message


def test_killed_while_they_write_they_are_replaced_and_the_batches_are_the_same(cases: tuple[CachedCase, ...]) -> None:
    with open_batches(cases, LARGE, 0, workers=0) as batches:
        expected = [next(batches)["data"] for _ in range(12)]
    found: list[np.ndarray] = []

    def go() -> None:
        with open_batches(cases, LARGE, 0, workers=2) as batches:
            found.append(next(batches)["data"])
            wait_until_they_write()
            for process in multiprocessing.active_children():
                process.kill()
            found.extend(next(batches)["data"] for _ in range(11))

    within(120, go)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_one_that_hangs_is_noticed_and_the_batches_are_the_same(
    cases: tuple[CachedCase, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "EXAMINE_S", 0.5)
    monkeypatch.setattr(processes, "HANGS_S", 2.0)
    with open_batches(cases, LARGE, 0, workers=0) as batches:
        expected = [next(batches)["data"] for _ in range(12)]
    found: list[np.ndarray] = []

    def go() -> None:
        with open_batches(cases, LARGE, 0, workers=1) as batches:
            found.append(next(batches)["data"])
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, signal.SIGSTOP)
            found.extend(next(batches)["data"] for _ in range(11))

    within(120, go)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert "a worker hangs, it did nothing for 2 s; augmenting in the training process" in caplog.text
    assert not multiprocessing.active_children()


def test_ending_does_not_wait_for_a_process_that_was_killed_while_it_wrote(cases: tuple[CachedCase, ...]) -> None:
    def go() -> None:
        with open_batches(cases, LARGE, 0, workers=1) as batches:
            next(batches)
            wait_until_they_write()
            for process in multiprocessing.active_children():
                process.kill()

    within(60, go)
    assert not multiprocessing.active_children()
