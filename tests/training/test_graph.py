"""Tests of autoseg.training.graph: the step's graph, played by a recording that runs on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import made
import pytest
import torch
from torch import Tensor

from autoseg.data.batches import Batch
from autoseg.plan import LossPlan, OptimiserPlan, Plan
from autoseg.training import graph
from autoseg.training.graph import PLAIN, Recording, Replayed
from autoseg.training.state import State, new_state
from autoseg.training.step import Stepper

PLAN = made.plan(
    loss=LossPlan(kind="dice-ce", background=False, over="batch", weights=(1, 2, 3), fade_weights=True, partial=True),
    optimiser=OptimiserPlan(name="adamw", schedule="cosine", warmup_iterations=2, averaging=0.9, gradient_clip=1.0),
    iterations=20,
)


class Stream:
    """A stream of work, on a machine that has none."""

    def wait_stream(self, other: Stream) -> None:
        assert isinstance(other, Stream)


@contextlib.contextmanager
def on(_: Stream) -> Iterator[None]:
    yield


class Device:
    """Records as a GPU would: nothing runs until it is replayed, and the result lies in one place."""

    def __init__(self) -> None:
        self.captured = self.replayed = self.forgotten = 0
        self.refuses = False
        self.current: list[Stream] = []

    def capture(self, function: Callable[[], Tensor], stream: Stream) -> Recording:
        assert isinstance(stream, Stream)
        if self.refuses:
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be …")
        self.captured += 1
        result = torch.zeros(2)

        def replay() -> None:
            self.replayed += 1
            result.copy_(function())

        return replay, self.forget, result

    def forget(self) -> None:
        self.forgotten += 1


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    played = Device()
    monkeypatch.setattr(graph, "capture", played.capture)
    for name, value in {"Stream": Stream, "stream": on, "current_stream": Stream}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "set_stream", played.current.append)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return played


def batches(size: int = 8, count: int = 9) -> Iterator[Batch]:
    """Yield noise; in every second batch one image does not show the first organ."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        truth = torch.randint(0, 3, (2, 1, size, size, size), generator=generator).to(torch.uint8)
        image = torch.randn(truth.shape, generator=generator)
        hidden: list[tuple[int, ...]] = [(), (1,)] if number % 2 else [(), ()]
        truth[1][(truth[1] == 1) & bool(number % 2)] = 0
        yield {"data": image, "seg": truth, "keys": ["a", "b"], "hidden": hidden}


def with_graph(plan: Plan) -> Stepper:
    """Return a stepper that works as on a GPU: inputs stay where they are, and a graph reads them there."""
    step = Stepper(plan, new_state(plan))
    step._stays = True
    step._graph = step._advance = Replayed(step._advance)
    return step


def results(step: Stepper, some: Iterator[Batch]) -> list[tuple[float, float]]:
    return [step(batch).read() for batch in some]


def require_same(one: State, other: State) -> None:
    expected, found = one.tensors(), other.tensors()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_graph_gives_the_bits_of_plain_steps(device: Device, name: str) -> None:
    plan = PLAN.model_copy(update={"optimiser": PLAN.optimiser.model_copy(update={"name": name})})
    plain, graphed = Stepper(plan, new_state(plan)), with_graph(plan)
    assert results(graphed, batches()) == results(plain, batches())
    require_same(plain.state, graphed.state)
    assert (device.captured, device.replayed) == (1, 9 - PLAIN)


def test_memory_that_was_given_back_is_taken_again_by_the_next_step(device: Device) -> None:
    plain, graphed = Stepper(PLAN, new_state(PLAN)), with_graph(PLAN)
    expected, found = results(plain, batches()), []
    for number, batch in enumerate(batches()):
        found.append(graphed(batch).read())
        if number in (1, 5):  # at first there is nothing to give back
            graphed.release()
    assert found == expected
    require_same(plain.state, graphed.state)
    assert (device.captured, device.forgotten) == (2, 1)


def test_where_there_can_be_no_graph_steps_go_on_plainly_and_it_is_said_once(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    device.refuses = True
    plain, graphed = Stepper(PLAN, new_state(PLAN)), with_graph(PLAN)
    assert results(graphed, batches()) == results(plain, batches())
    require_same(plain.state, graphed.state)
    assert len(device.current) == 1  # back from the stream of the capture
    (line,) = caplog.messages
    assert line.endswith("no CUDA graph of it (operation not permitted when stream is capturing)")


def test_crops_of_another_size_get_a_graph_of_their_own(device: Device) -> None:
    plain, graphed = Stepper(PLAN, new_state(PLAN)), with_graph(PLAN)
    for size in (8, 4):
        assert results(graphed, batches(size, 6)) == results(plain, batches(size, 6))
    assert (device.captured, device.forgotten) == (2, 1)


def test_what_is_captured_runs_on_the_given_stream_and_lets_other_threads_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []

    class CUDAGraph:
        def replay(self) -> None:
            told.append("replayed")

        def reset(self) -> None:
            told.append("forgotten")

    @contextlib.contextmanager
    def capturing(_: CUDAGraph, **how: Any) -> Iterator[None]:
        told.append(how)
        yield
        told.append("captured")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", CUDAGraph)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    stream: Any = Stream()
    replay, forget, result = graph.capture(lambda: told.append("called") or torch.ones(2), stream)
    assert result.tolist() == [1, 1]
    replay()
    forget()
    how = {"stream": stream, "capture_error_mode": "thread_local"}
    assert told == [how, "called", "captured", "replayed", "forgotten"]
