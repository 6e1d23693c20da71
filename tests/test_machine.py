"""Tests of autoseg.machine: what this process may use, and what others use of it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoseg import machine
from autoseg.machine import ProcessorTime, default_workers, usable_cores


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("", 8)])
def test_cores_are_limited_by_the_cgroups_quota(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "_read_words", lambda _: quota.split())
    assert usable_cores() == cores


@pytest.mark.parametrize(("processes", "expected"), [(None, 8), ("4", 3), ("16", 1)])
def test_processes_that_train_together_share_the_cores_of_their_machine(
    monkeypatch: pytest.MonkeyPatch, processes: str | None, expected: int
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 16)
    monkeypatch.setattr(machine, "free_memory_gib", lambda: 100.0)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert default_workers() == expected


def test_workers_take_half_of_the_free_memory_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 16)
    monkeypatch.setattr(machine, "free_memory_gib", lambda: 3.0)  # half of it is three processes of half a GiB
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
