"""Tests of autoseg.pool; its functions are importable, as worker processes are spawned."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoseg import pool
from autoseg.errors import AutosegError, VolumeError
from autoseg.machine import ProcessorTime, default_workers, usable_cores
from autoseg.pool import each


def halved(number: int) -> int:
    if number % 2:
        raise VolumeError(f"{number} is odd")
    return number // 2


def killed_by_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def process(_: int) -> int:
    return os.getpid()


def broken(_: int) -> int:
    raise ZeroDivisionError("a bug, not the user's mistake")


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_is_yielded_beside_the_results_of_the_others(jobs: int) -> None:
    found = dict(each(halved, {f"n{n}": n for n in (4, 3, 8)}, jobs))
    assert (found["n4"], found["n8"]) == (2, 4)
    assert isinstance(found["n3"], VolumeError)
    assert str(found["n3"]) == "3 is odd"


def test_a_killed_worker_costs_only_its_own_case() -> None:
    found = dict(each(killed_by_three, {str(n): n for n in range(5)}, 2))
    lost = found.pop("3")
    assert found == {"0": 0, "1": 1, "2": 2, "4": 4}
    assert isinstance(lost, AutosegError)
    assert "its worker process was killed" in str(lost)


def test_one_job_works_in_this_process_and_two_in_others() -> None:
    items = {"a": 1, "b": 2}
    assert {pid for _, pid in each(process, items, 1)} == {os.getpid()}
    assert os.getpid() not in {pid for _, pid in each(process, items, 2)}


def test_one_job_keeps_the_order_and_works_only_when_asked() -> None:
    results = each(halved, {"a": 2, "b": 4, "c": 6}, 1)
    assert next(results) == ("a", 1)
    assert list(results) == [("b", 2), ("c", 3)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_nothing_to_do_yields_nothing(jobs: int) -> None:
    assert list(each(halved, {}, jobs)) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bug_is_not_taken_for_a_bad_case(jobs: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(each(broken, {"a": 1, "b": 2}, jobs))


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("", 8)])
def test_cores_are_limited_by_the_cgroups_quota(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(pool, "_read_words", lambda _: quota.split())
    assert usable_cores() == cores


@pytest.mark.parametrize(("processes", "expected"), [(None, 8), ("4", 3), ("16", 1)])
def test_processes_that_train_together_share_the_cores_of_their_machine(
    monkeypatch: pytest.MonkeyPatch, processes: str | None, expected: int
) -> None:
    monkeypatch.setattr(pool, "usable_cores", lambda: 16)
    monkeypatch.setattr(pool, "free_memory_gib", lambda: 100.0)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert default_workers() == expected


def test_workers_take_half_of_the_free_memory_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "usable_cores", lambda: 16)
    monkeypatch.setattr(pool, "free_memory_gib", lambda: 3.0)  # half of it is three processes of half a GiB
    assert default_workers() == 3


@pytest.mark.parametrize(
    ("clock", "all_programs", "this_one", "share"),
    [
        (10.0, 19.6, 12.6, 0.35),  # of 2 processors in 10 s: full, 7 s were others'
        (10.0, 19.8, 19.8, 0.0),  # full of this one
        (10.0, 12.0, 5.0, 0.0),  # others had 7 s, but 8 s were free
    ],
)
def test_what_others_take_counts_where_no_processor_was_idle(
    monkeypatch: pytest.MonkeyPatch, clock: float, all_programs: float, this_one: float, share: float
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    before = ProcessorTime(clock=100.0, all_programs=1000.0, this_one=50.0)
    after = ProcessorTime(clock=100.0 + clock, all_programs=1000.0 + all_programs, this_one=50.0 + this_one)
    monkeypatch.setattr(ProcessorTime, "now", lambda: after)
    assert before.taken_by_others() == pytest.approx(share)


def test_the_time_of_this_program_is_a_part_of_that_of_all() -> None:
    before = ProcessorTime.now()
    while (after := ProcessorTime.now()).this_one - before.this_one < 0.05:
        sum(range(10_000))
    assert after.all_programs - before.all_programs > 0.02
    assert after.clock > before.clock


def test_processors_that_this_program_may_not_use_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2}, raising=False)
    times = [SimpleNamespace(user=seconds, system=1.0, idle=50.0) for seconds in (10.0, 100.0, 20.0, 1000.0)]
    monkeypatch.setattr("psutil.cpu_times", lambda percpu: times)
    assert ProcessorTime.now().all_programs == 32.0
