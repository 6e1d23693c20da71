"""Tests of autoseg.training.saving: what is written is the state as it was, whatever training does meanwhile."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import made
import pytest
import torch

from autoseg.data.cache import CachedCase, cases_digest
from autoseg.network.weights import load_networks
from autoseg.plan import OptimiserPlan
from autoseg.run import FoldFolder
from autoseg.training import loop, saving
from autoseg.training.checkpoint import load_checkpoint
from autoseg.training.loop import Fold, train
from autoseg.training.saving import Saver
from autoseg.training.state import State, new_state, snapshot

PLAN = made.plan(optimiser=OptimiserPlan(name="adam", schedule="constant", averaging=0.9))
LONG_S = 60.0  # after so long a test that hangs fails


def trained() -> State:
    """Return a state after one step, on noise."""
    state = new_state(PLAN)
    state.network(torch.randn(2, 1, 8, 8, 8)).square().mean().backward()
    state.optimiser.step()
    state.done = 7
    return state


def spoil(state: State) -> None:
    with torch.no_grad():
        for tensor in state.tensors().values():
            tensor.fill_(3)
    state.done = 8


def loaded(files: FoldFolder) -> State:
    state = new_state(PLAN)
    load_checkpoint(files.checkpoint, PLAN, cases_digest(()), state)
    return state


class Slow:
    """The writing of checkpoints; that of one iteration begins when it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, iteration: int = 7) -> None:
        self.iteration = iteration
        self.let, self.begun = threading.Event(), threading.Event()
        self._true = saving.save_checkpoint
        monkeypatch.setattr(saving, "save_checkpoint", self.save)

    def save(self, *what: Any, **more: Any) -> None:
        if what[-1].done == self.iteration:
            self.begun.set()
            assert self.let.wait(LONG_S)
        self._true(*what)


def test_what_changes_while_a_checkpoint_is_written_is_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, slow, state = FoldFolder(tmp_path), Slow(monkeypatch), trained()
    expected = {name: tensor.clone() for name, tensor in state.tensors().items()}
    saver = Saver(files, PLAN, ())
    saver.save(state)
    assert slow.begun.wait(LONG_S)
    saver.require_well()  # does not wait
    spoil(state)
    slow.let.set()
    saver.wait()
    after = loaded(files)
    assert after.done == 7
    assert all(torch.equal(after.tensors()[name], tensor) for name, tensor in expected.items())
    (network,), _, facts = load_networks(files.model, "cpu")
    assert facts["iteration"] == 7
    assert all(torch.equal(tensor, expected[f"average.{name}"]) for name, tensor in network.state_dict().items())


def test_generations_are_written_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, slow, state = FoldFolder(tmp_path), Slow(monkeypatch), trained()
    saver = Saver(files, PLAN, ())
    saver.save(state)
    state.done = 9
    assert slow.begun.wait(LONG_S)
    threading.Timer(0.1, slow.let.set).start()
    saver.save(state)
    saver.wait()
    assert loaded(files).done == 9


@pytest.mark.parametrize("asked", ["require_well", "wait", "save"])
def test_what_the_thread_could_not_do_is_raised_once_where_training_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    def full(file: Path, *_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    saver, state = Saver(FoldFolder(tmp_path), PLAN, ()), trained()
    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_model", full)
        saver.save(state)
        assert saver._thread is not None
        saver._thread.join(LONG_S)
        with pytest.raises(OSError, match="No space left"):
            saver.save(state) if asked == "save" else getattr(saver, asked)()
    saver.require_well()
    saver.save(state)
    saver.wait()
    assert loaded(FoldFolder(tmp_path)).done == 7


def test_an_interrupted_training_ends_when_its_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: tuple[CachedCase, ...] = made.easy_cases(tmp_path / "cache", 2)
    files, slow = FoldFolder(tmp_path / "fold"), Slow(monkeypatch, iteration=3)
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(loop, "draw_curves", lambda *_: [])

    def interrupt(progress: loop.Progress) -> None:
        if progress.iteration == 4:
            assert slow.begun.wait(LONG_S)
            threading.Timer(0.1, slow.let.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Fold(plan=PLAN, training=cases, validation=(), files=files, workers=0), interrupt, lambda: False)
    state = new_state(PLAN)
    load_checkpoint(files.checkpoint, PLAN, cases_digest(cases), state)
    assert state.done == 3


def test_a_snapshot_has_the_layout_of_files_and_only_what_is_new_has_no_moments() -> None:
    fresh, after = snapshot(new_state(PLAN)), snapshot(trained())
    assert not [name for name in fresh.tensors if name.startswith("optimiser.")]
    assert all(tensor.is_contiguous() for tensor in after.tensors.values())
    state = trained()
    first = state.parameters[0]
    del state.optimiser.state[first]  # as of a bias that is left out
    zeros = snapshot(state).tensors
    assert zeros.keys() == after.tensors.keys()
    assert not zeros["optimiser.0.exp_avg"].any()
    assert zeros["optimiser.0.exp_avg"].shape == first.shape
    assert zeros["optimiser.0.step"] == 0
