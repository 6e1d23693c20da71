"""Tests of autoseg.pool; its functions are importable, as worker processes are spawned."""

from __future__ import annotations

import os
import signal

import pytest

from autoseg.errors import AutosegError, VolumeError
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
