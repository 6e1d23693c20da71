"""Tests of autoseg.training.measure, on a made-up device that works while Python goes on, as a GPU does."""

from __future__ import annotations

import itertools
from typing import Any

import made
import pytest

from autoseg.training import measure

STEP_S = 0.5


class Clock:
    """A clock that stands until somebody waits, in place of the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def wait_until(self, then_s: float) -> None:
        self.now_s = max(self.now_s, then_s)


class Outcome:
    """What a step ends with; `read` waits for that."""

    def __init__(self, clock: Clock, ends_s: float) -> None:
        self.clock = clock
        self.ends_s = ends_s

    def read(self) -> tuple[float, float]:
        self.clock.wait_until(self.ends_s)
        return 0.0, 0.0


class Device:
    """Starts a step at once, and takes `STEP_S` a step, one after the other."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.free_s = 0.0

    def __call__(self, batch: object) -> Outcome:
        self.free_s = max(self.free_s, self.clock.now_s) + STEP_S
        return Outcome(self.clock, self.free_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)
    return clock


@pytest.mark.parametrize("most", [2, 8])
def test_steps_that_are_only_started_count_with_their_whole_time(clock: Clock, most: int) -> None:
    batches: Any = itertools.repeat({})
    _, took = measure._timed(Device(clock), batches, 2, most, 60.0)  # type: ignore[arg-type]
    assert len(took) == most
    assert sum(took) == most * STEP_S


def test_after_so_long_no_more_than_the_least_are_done(clock: Clock) -> None:
    batches: Any = itertools.repeat({})
    _, took = measure._timed(Device(clock), batches, 3, 100, 0.0)  # type: ignore[arg-type]
    assert len(took) == 3


@pytest.mark.parametrize("exactly", [True, False])
def test_what_repeats_exactly_is_measured_so(monkeypatch: pytest.MonkeyPatch, exactly: bool) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(measure.torch, "are_deterministic_algorithms_enabled", lambda: exactly)
    monkeypatch.setattr(measure, "repeat_exactly", lambda: asked.append(True))
    monkeypatch.setattr(measure, "in_own_process", lambda function, job: function(job))
    monkeypatch.setattr(measure, "_made_up", lambda *_: None)
    monkeypatch.setattr(measure, "_times", lambda *_: ([0.1], [0.5], 0.0))
    cost = measure.measure_step(made.plan(), (8, 8, 8), 0)
    assert cost is not None
    assert cost.seconds_per_iteration == 0.5
    assert asked == [True] * exactly


def test_one_of_several_processes_on_a_cpu_has_its_part_of_the_cores_and_all_have_one_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []
    monkeypatch.setattr(measure, "usable_cores", lambda: 8)
    monkeypatch.setattr(measure.torch, "set_num_threads", threads.append)
    monkeypatch.setattr(measure, "in_own_process", lambda function, job: function(job))
    monkeypatch.setattr(measure, "_made_up", lambda *_: None)
    monkeypatch.setattr(measure, "_times", lambda *_: ([0.1], [0.5], 0.0))
    monkeypatch.setattr(measure, "peak_memory_gib", lambda: 1.5)
    teams = ((1, 1), (3, 1), (4, 2), (4, 4))  # processes, on so many machines
    costs = [measure.measure_step(made.plan(device="cpu"), (8, 8, 8), 0, *team) for team in teams]
    assert threads == [2, 4]
    assert [cost.gib for cost in costs if cost is not None] == [1.5, 4.5, 3.0, 1.5]
