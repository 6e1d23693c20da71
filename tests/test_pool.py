"""Tests of autoseg.pool; its functions are importable, as worker processes are spawned."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from autoseg import hands, processes
from autoseg.errors import AutosegError, VolumeError
from autoseg.hands import CANNOT_START, END_S, LocalProcesses
from autoseg.pool import Crew, call_each, each, in_own_process
from autoseg.processes import WorkerLostError


def halved(number: int) -> int:
    if number % 2:
        raise VolumeError(f"{number} is odd")
    return number // 2


def killed_by_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def stopped_by_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGSTOP)
    return number


def killed_beside_others(folder_and_number: tuple[Path, int]) -> int:
    """Be killed at the first try; note the process."""
    folder, number = folder_and_number
    if number == 0 and not (folder / "tried").exists():
        (folder / "tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return os.getpid()


def kilobytes(number: int) -> bytes:
    return bytes(number * 1024)


def half_written(folder: Path) -> None:
    """Write to a file that is removed when the process is asked to end."""
    try:
        (folder / f"half.{os.getpid()}").touch()
        time.sleep(600)
    finally:
        (folder / f"half.{os.getpid()}").unlink()


def children_of(_: int) -> int:
    """Return the exit code of a process that this one starts."""
    child = multiprocessing.get_context("spawn").Process(target=halved, args=(2,))
    child.start()
    child.join()
    return int(child.exitcode or 0)


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


def test_a_hanging_worker_is_noticed_and_costs_only_its_own_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "EXAMINE_S", 0.2)
    monkeypatch.setattr(processes, "HANGS_S", 2.0)
    found = dict(each(stopped_by_three, {str(n): n for n in range(5)}, 2))
    lost = found.pop("3")
    assert found == {"0": 0, "1": 1, "2": 2, "4": 4}
    assert "did nothing for 2 s" in str(lost)


def test_where_no_process_can_be_started_each_case_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
    reasons = {str(error) for _, error in each(halved, {"a": 2, "b": 4}, 2)}
    assert reasons == {f"no worker process could be started for it ({os.strerror(errno.EAGAIN)}); use -j 1"}


def test_after_a_killed_worker_the_others_go_on_beside_each_other_and_its_case_is_tried_again(tmp_path: Path) -> None:
    found = dict(each(killed_beside_others, {str(n): (tmp_path, n) for n in range(12)}, 2))
    assert all(isinstance(pid, int) for pid in found.values())
    assert len(set(found.values())) == 2


def killing(folder_and_number: tuple[Path, int]) -> int:
    """Be killed with number 3 as often as there are files called `again`; note each try."""
    folder, number = folder_and_number
    (folder / f"{number}.{len(list(folder.glob(f'{number}.*')))}").touch()
    if number == 3 and len(list(folder.glob("3.*"))) <= len(list(folder.glob("again*"))):
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize(("kills", "is_named"), [(2, False), (9, True)])
def test_who_loses_its_worker_twice_works_alone_and_is_named_if_that_is_lost_too(
    tmp_path: Path, kills: int, is_named: bool
) -> None:
    for number in range(kills):
        (tmp_path / f"again{number}").touch()
    results = list(each(killing, ((str(n), (tmp_path, n)) for n in range(6)), 2))
    name, value = results[-1]
    assert name == "3"  # when all others are done
    assert isinstance(value, AutosegError) == is_named
    assert len(list(tmp_path.glob("3.*"))) == 3
    assert sorted(results[:-1]) == [(str(n), n) for n in (0, 1, 2, 4, 5)]
    assert [len(list(tmp_path.glob(f"{n}.*"))) for n in (0, 1, 2, 4, 5)] == [1] * 5  # no neighbour is done twice


def crew_of_one(tasks: list[list[int]], task_s: float = 0.0) -> Crew:
    """Return a crew that works in this process, notes the tasks, and is lost with a task that holds 3."""

    def submit(function: Callable[[Any], Any], items: Sequence[Any]) -> Future[Any]:
        tasks.append(list(items))
        future: Future[Any] = Future()
        if 3 in items:
            future.set_exception(WorkerLostError("lost"))
        else:
            future.set_result(replace(call_each(function, items), seconds=0.01 * len(items)))
        return future

    return Crew(submit=submit, width=lambda: 1, examine=lambda: None, task_s=task_s)


def test_small_items_go_in_tasks_of_many_and_who_was_beside_a_lost_one_is_not_blamed() -> None:
    tasks: list[list[int]] = []
    items = ((f"n{n}", 2 * n if n != 30 else 3) for n in range(60))
    results = dict(each(halved, items, crew_of_one(tasks, task_s=0.105)))
    assert {len(task) for task in tasks[2:]} == {10, 8, 1}  # 0.105 s at 0.01 s each; the last of all; those tried again
    assert {name: value for name, value in results.items() if name != "n30"} == {
        f"n{n}": n for n in range(60) if n != 30
    }
    assert str(results["n30"]) == "lost"
    assert [task for task in tasks if 3 in task][1:] == [[3], [3]]


def test_items_are_taken_when_there_is_a_worker_for_them() -> None:
    taken: list[int] = []

    def items() -> Iterator[tuple[str, int]]:
        for number in range(0, 100, 4):
            taken.append(number)
            yield str(number), number

    results = each(halved, items(), crew_of_one([]))
    assert next(results) == ("0", 0)
    assert len(taken) <= 3  # that one, and two ahead


def test_what_is_done_is_given_before_what_hinders_the_next_task_is_raised() -> None:
    def items() -> Iterator[tuple[str, int]]:
        yield from (("0", 0), ("4", 4))
        raise VolumeError("the next one is locked")

    results = each(halved, items(), crew_of_one([]))
    assert next(results) == ("0", 0)
    with pytest.raises(VolumeError, match="the next one is locked"):
        next(results)


def exhausting(_: int) -> int:
    raise MemoryError


def test_the_way_out_of_too_little_memory_is_that_of_who_works() -> None:
    for report, way_out in (
        (call_each(exhausting, [1]), "use -j 1"),
        (call_each(exhausting, [1], "buy more"), "buy more"),
    ):
        assert str(report.outcomes[0].value) == f"there is too little memory for it; {way_out}"


def test_results_larger_than_a_pipe_holds_come_whole() -> None:
    found = dict(each(kilobytes, {"small": 1, "large": 5000}, 2))
    assert [len(found[name]) for name in ("small", "large")] == [1024, 5120000]  # type: ignore[arg-type]


def test_where_files_are_too_many_for_a_pipe_that_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("multiprocessing.context.SpawnContext.Pipe", refuse)
    reasons = {str(error) for _, error in each(halved, {"a": 2, "b": 4}, 2)}
    assert reasons == {f"no worker process could be started for it ({os.strerror(errno.EMFILE)}); use -j 1"}


class Stuck:
    """A worker and its thread, that end by nothing: who waits for them waits as long as he would."""

    def __init__(self, clock: list[float], kills: list[float]) -> None:
        self.thread, self.clock, self.kills = self, clock, kills

    def end(self) -> None:
        """Hear it and go on."""

    def is_alive(self) -> bool:
        return True

    def join(self, timeout: float) -> None:
        self.clock[0] += timeout

    def kill(self) -> None:
        self.kills += self.clock


def test_many_that_do_not_end_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, kills = [0.0], list[float]()
    monkeypatch.setattr("autoseg.hands.time.monotonic", lambda: clock[0])
    local = LocalProcesses(0)
    monkeypatch.setattr(local, "_hands", [Stuck(clock, kills) for _ in range(64)])
    local.shutdown()
    assert (kills, clock) == ([END_S] * 64, [2 * END_S])


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt, also where the tests were started with & and a shell has told them to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_who_stops_asking_ends_the_workers_and_what_is_queued_is_not_begun(tmp_path: Path) -> None:
    results = each(half_written, dict.fromkeys(map(str, range(20)), tmp_path), 2)
    begun: list[float] = []

    def interrupt_who_waits() -> None:
        until = time.monotonic() + 300
        while not any(tmp_path.iterdir()) and time.monotonic() < until:
            time.sleep(0.05)
        begun.extend(time.monotonic() for _ in tmp_path.iterdir())
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt_who_waits, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert 1 <= len(begun) <= 2  # as many as there are workers
    assert time.monotonic() - begun[0] < 60  # and not 600
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_its_own_may_start_others() -> None:
    assert in_own_process(children_of, 0) == 0


TESTS = Path(__file__).parent
ORPHANS = """
import os, sys, time
from pathlib import Path
sys.path[:0] = {paths!r}
from autoseg.pool import each
from test_pool import noted_and_asleep
if __name__ == "__main__":
    list(each(noted_and_asleep, {{"a": Path({folder!r}), "b": Path({folder!r})}}, 2))
"""


def noted_and_asleep(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    folder = tmp_path / "pids"
    folder.mkdir()
    program.write_text(ORPHANS.format(paths=[str(TESTS), str(TESTS.parent)], folder=str(folder)))
    parent = subprocess.Popen([sys.executable, str(program)])
    try:
        until = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    workers = [int(file.name) for file in folder.iterdir()]
    assert len(workers) == 2
    until = time.monotonic() + 10
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert [pid for pid in workers if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"] == []


UNGUARDED = """
import sys
sys.path[:0] = {paths!r}
from autoseg.errors import AutosegError
from autoseg.pool import each
from test_pool import doubled
try:
    print(dict(each(doubled, {{str(n): n for n in range(50)}}, 2)))
except AutosegError as error:
    print("told:", error)
"""


def doubled(number: int) -> int:
    return 2 * number


def test_a_script_that_its_workers_would_run_again_is_told_so_at_once(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(UNGUARDED.format(paths=[str(TESTS), str(TESTS.parent)]))
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=120)
    assert done.stdout == f"told: {CANNOT_START}\n"


def ended_by(parent: int) -> None:
    """End this process as Python does after an exception, in any but `parent`."""
    if os.getpid() != parent:
        os._exit(1)


def test_one_that_cannot_start_is_a_lost_one_where_others_could(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalProcesses(1) as worked, LocalProcesses(1) as fresh:
        assert worked.submit(doubled, 2).result() == 4
        with pytest.raises(WorkerLostError):
            worked.submit(ended_by, os.getpid()).result()
        monkeypatch.setattr(hands, "_serve", os.getpid)  # which takes no arguments
        with pytest.raises(WorkerLostError):
            worked.submit(doubled, 3).result()
        with pytest.raises(AutosegError, match="ends before it can work") as told:
            fresh.submit(doubled, 3).result()
        assert not isinstance(told.value, WorkerLostError)
        monkeypatch.undo()
        assert worked.submit(doubled, 3).result() == 6
