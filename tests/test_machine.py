"""Tests of autoseg.machine: what this process may use, and what others use of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from autoseg import machine
from autoseg.machine import ProcessorTime, default_workers, free_memory_gib, usable_cores


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree of cgroups on a machine of 8 cores with 100 GiB free, outside of Slurm."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=100 * machine.GIB))
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    return tmp_path


def write_group(group: Path, **files: str) -> None:
    group.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (group / name.replace("__", ".")).write_text(text + "\n")


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("", 8)])
def test_cores_are_limited_by_the_cgroups_quota(quota: str, cores: int, cgroups: Path) -> None:
    write_group(cgroups, cpu__max=quota)
    assert usable_cores() == cores


def test_the_smallest_quota_of_the_groups_above_counts(cgroups: Path) -> None:
    (cgroups / "own").write_text("0::/slurm/job_7/step_0/task_0\n")
    write_group(cgroups / "slurm/job_7/step_0/task_0", cpu__max="max 100000")
    write_group(cgroups / "slurm/job_7", cpu__max="300000 100000")
    write_group(cgroups / "slurm", cpu__max="600000 100000")
    assert usable_cores() == 3


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
def test_cores_are_limited_by_a_quota_of_cgroups_version_1(controllers: str, cgroups: Path) -> None:
    (cgroups / "own").write_text(f"7:memory:/job\n4:{controllers}:/job/step\n")
    write_group(cgroups / controllers / "job", cpu__cfs_quota_us="400000", cpu__cfs_period_us="100000")
    write_group(cgroups / controllers / "job/step", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert usable_cores() == 4


@pytest.mark.parametrize("group", ["job", "job/step", "job/step/task", ""])
def test_memory_is_limited_by_each_group_above_the_process(group: str, cgroups: Path) -> None:
    (cgroups / "own").write_text("0::/job/step/task\n")
    write_group(cgroups / "job/step/task", memory__max="max", memory__current="1")
    limit, used, cached = 3 * machine.GIB, 2 * machine.GIB, machine.GIB // 2
    stat = f"anon 7\ninactive_file {cached}\nactive_file 0"
    write_group(cgroups / group, memory__max=str(limit), memory__current=str(used), memory__stat=stat)
    assert free_memory_gib() == 1.5


def test_memory_is_limited_by_each_group_of_cgroups_version_1(cgroups: Path) -> None:
    (cgroups / "own").write_text("12:memory:/slurm/job_7/task_0\n1:name=systemd:/other\n")
    unlimited, limit, used = str(2**63 - 4096), str(4 * machine.GIB), str(2 * machine.GIB)
    write_group(cgroups / "memory/slurm/job_7/task_0", memory__limit_in_bytes=unlimited, memory__usage_in_bytes="1")
    stat = f"inactive_file 0\ntotal_inactive_file {machine.GIB}\ntotal_active_file 0"
    write_group(
        cgroups / "memory/slurm/job_7", memory__limit_in_bytes=limit, memory__usage_in_bytes=used, memory__stat=stat
    )
    assert free_memory_gib() == 3.0


def test_a_container_whose_groups_are_named_as_outside_has_the_limits_of_its_root(cgroups: Path) -> None:
    (cgroups / "own").write_text("0::/../docker/0123\n")
    write_group(cgroups, memory__max=str(2 * machine.GIB), memory__current=str(machine.GIB))
    assert free_memory_gib() == 1.0


def test_slurm_limits_where_it_makes_no_cgroups(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_own_memory", lambda: machine.GIB)
    assert free_memory_gib() == 100.0
    for name, value in {"JOB_ID": "7", "CPUS_PER_TASK": "3", "CPUS_ON_NODE": "6", "MEM_PER_CPU": "1024"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert usable_cores() == 3
    assert free_memory_gib() == 5.0  # 6 of 1 GiB, of which this process has one
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "2048")
    assert free_memory_gib() == 1.0


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 cores with 100 GiB free, on which one process trains."""
    monkeypatch.setattr(machine, "usable_cores", lambda: 64)
    monkeypatch.setattr(machine, "free_memory_gib", lambda: 100.0)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)


@pytest.mark.parametrize(
    ("cores", "device", "expected"),
    [(1, "cpu", 1), (2, "cuda", 1), (6, "cpu", 5), (16, "cpu", 8), (16, "cuda", 15), (64, "cuda", 32), (16, "mps", 15)],
)
def test_a_gpu_has_all_cores_but_one_and_a_cpu_needs_its_own(
    monkeypatch: pytest.MonkeyPatch, large: None, cores: int, device: str, expected: int
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    assert default_workers(device=device) == expected


@pytest.mark.parametrize(("processes", "expected"), [("4", 15), ("8", 7), ("64", 1)])
def test_processes_that_train_together_share_the_cores_of_their_machine(
    monkeypatch: pytest.MonkeyPatch, large: None, processes: str, expected: int
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert default_workers(device="cuda") == expected
    assert default_workers(int(processes), "cuda") == expected


@pytest.mark.parametrize(("batch_mib", "expected"), [(0, 6), (64, 2), (1024, 1)])
def test_workers_take_half_of_the_free_memory_at_most(
    monkeypatch: pytest.MonkeyPatch, large: None, batch_mib: int, expected: int
) -> None:
    monkeypatch.setattr(machine, "free_memory_gib", lambda: 5.0)  # half of it: six of 0.4 GiB, or two of 0.4 and 0.5
    assert default_workers(device="cuda", batch_bytes=batch_mib * machine.MIB) == expected


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


def test_on_windows_the_most_memory_is_that_of_the_systems_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)  # there is none
    monkeypatch.setattr(machine, "_read_words", lambda file: [])  # nor /proc
    counters = SimpleNamespace(peak_wset=3 * 2**29)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda process: counters)
    assert machine.peak_memory_gib() == 1.5


def test_where_the_system_tells_no_affinity_all_processors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert list(machine._processors()) == [0, 1, 2, 3, 4, 5]
