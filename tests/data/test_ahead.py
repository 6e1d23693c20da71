"""Tests of autoseg.data.ahead: one batch ahead, in order, and no thread is left."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made
import numpy as np
import pytest
import torch

from autoseg.data import ahead as ahead_module
from autoseg.data import batches
from autoseg.data.ahead import ToGpu, ahead
from autoseg.data.batches import open_batches
from autoseg.errors import TrainingError


def nothing() -> None:
    """End nothing."""


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "batches ahead"]


def test_items_come_moved_in_their_order() -> None:
    with ahead(iter(range(5)), lambda n: 10 * n, nothing) as moved:
        assert list(moved) == [0, 10, 20, 30, 40]
    assert not threads()


def test_the_next_one_is_moved_while_one_is_in_use_and_no_more() -> None:
    moved_so_far: queue.Queue[int] = queue.Queue()

    def move(number: int) -> int:
        moved_so_far.put(number)
        return number

    with ahead(iter(range(100)), move, nothing) as moved:
        assert next(moved) == 0
        # 0 is in use, 1 is ready, 2 is in the thread's hands
        assert [moved_so_far.get(timeout=60) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(queue.Empty):
            moved_so_far.get_nowait()
    assert not threads()


@pytest.mark.parametrize("where", ["items", "move"])
def test_what_goes_wrong_in_the_thread_is_raised_where_the_batch_is_taken(where: str) -> None:
    def broken(number: int) -> int:
        if number == 1:
            raise TrainingError(f"{where} broken")
        return number

    items: Iterator[int] = map(broken, range(9)) if where == "items" else iter(range(9))
    with ahead(items, broken if where == "move" else int, nothing) as moved:
        assert next(moved) == 0
        with pytest.raises(TrainingError, match="broken"):
            next(moved)
    assert not threads()


def test_a_thread_that_waits_for_a_batch_ends_when_its_source_is_closed() -> None:
    source: queue.Queue[int | None] = queue.Queue()
    source.put(7)
    with ahead(iter(source.get, None), int, lambda: source.put(None)) as moved:
        assert next(moved) == 7
    assert not threads()


class PretendedStream:
    """Notes what it is asked for."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def record_event(self) -> str:
        self.seen.append("event")
        return "the copy's end"

    def wait_event(self, event: str) -> None:
        self.seen.append(f"wait for {event}")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a GPU that is not there is asked for; its memory is the host's."""
    seen: list[str] = []

    def entered(what: str) -> Any:
        seen.append(what)
        return contextlib.nullcontext()

    def to(tensor: torch.Tensor, device: str, non_blocking: bool) -> torch.Tensor:
        seen.append(f"{device} {str(tensor.dtype)[6:]} non_blocking={non_blocking}")
        return tensor

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: PretendedStream(seen))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: PretendedStream(seen))
    monkeypatch.setattr(torch.cuda, "stream", lambda _: entered("stream"))
    monkeypatch.setattr(torch.cuda, "device", lambda number: entered(f"device {number}"))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: seen.append("pin") or tensor.clone())
    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda _, __: seen.append("record"))
    return seen


def test_a_batch_is_pinned_and_copied_on_a_stream_of_its_own_which_the_step_waits_for(seen: list[str]) -> None:
    image, label = np.full((1, 1, 2, 2, 2), 0.5, np.float16), np.ones((1, 1, 2, 2, 2), np.uint8)
    gpu = ToGpu()
    copy = gpu.start({"data": image, "seg": label, "keys": ["a"], "hidden": [()]})
    steps = ["pin", "cuda float16 non_blocking=True", "pin", "cuda uint8 non_blocking=True"]
    assert seen == ["device 3", "stream", *steps, "event"]
    image[:] = 7  # pinned memory has its own: the slot is free
    batch = gpu.finish(copy)
    assert seen[-3:] == ["wait for the copy's end", "record", "record"]
    assert batch["data"].dtype == torch.float32  # as the network expects, widened on the device
    assert batch["data"].unique().tolist() == [0.5]
    assert batch["seg"].dtype == torch.uint8
    assert (batch["keys"], batch["hidden"]) == (["a"], [()])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_on_a_gpu_gets_the_batches_of_one_on_a_cpu_in_half_precision(
    tmp_path: Path, seen: list[str], workers: int
) -> None:
    cases = made.easy_cases(tmp_path, 3)
    with open_batches(cases, made.plan(), 0, workers=0) as stream:
        expected = [next(stream) for _ in range(4)]
    plan = made.plan(device="cuda", precision="bfloat16")
    with open_batches(cases, plan, 0, workers) as stream:
        found = [next(stream) for _ in range(4)]
    for one, other in zip(found, expected, strict=True):
        assert one["keys"] == other["keys"]
        assert one["data"].tolist() == other["data"].astype(np.float16).tolist()
        assert one["seg"].tolist() == other["seg"].tolist()
    assert "cuda float16 non_blocking=True" in seen
    assert not threads()


def test_ending_ends_the_workers_that_a_thread_waits_for(tmp_path: Path, seen: list[str]) -> None:
    team = batches._Workers(made.easy_cases(tmp_path, 3), made.plan(), 0, 1, (0, 1))
    with ahead(team.batches(), lambda batch: batch["keys"], team.close) as moved:
        assert len(next(moved)) == 2
    assert not threads()
    assert not team.augmenter._processes
    with pytest.raises(RuntimeError, match="have been ended"):
        next(team.augmenter)
    assert ahead_module.JOIN_S >= 1
