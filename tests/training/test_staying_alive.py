"""Tests of what a training does when something goes wrong: explosions, full disks, stop files, patience."""

from __future__ import annotations

import errno
import math
from pathlib import Path
from typing import Any

import made
import pytest
import torch

from autoseg.data.batches import Batch
from autoseg.data.cache import CachedCase, cases_digest
from autoseg.errors import TrainingError
from autoseg.network.weights import load_networks
from autoseg.plan import OptimiserPlan, Plan
from autoseg.run import FoldFolder
from autoseg.training import loop, saving
from autoseg.training.checkpoint import load_checkpoint
from autoseg.training.log import read_rows
from autoseg.training.loop import Fold, train
from autoseg.training.state import new_state
from autoseg.training.step import Outcome, Stepper
from autoseg.training.watch import BAD_IN_A_ROW

OPTIMISER = OptimiserPlan(name="adamw", schedule="constant", averaging=0.9, gradient_clip=1.0)
PLAN = made.plan(iterations=40, optimiser=OPTIMISER)


@pytest.fixture(autouse=True)
def draws_nothing(often_examined: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "draw_curves", lambda *_: [])


@pytest.fixture
def cases(tmp_path: Path) -> tuple[CachedCase, ...]:
    return made.easy_cases(tmp_path / "cache", 4)


def fold(folder: Path, cases: tuple[CachedCase, ...], plan: Plan = PLAN, **more: Any) -> Fold:
    return Fold(plan=plan, training=cases[:3], validation=cases[3:], files=FoldFolder(folder), workers=0, **more)


def go(fold: Fold) -> bool:
    return train(fold, lambda _: None, lambda: False)


def spoil(monkeypatch: pytest.MonkeyPatch, where: range, until_factor: float) -> list[int]:
    """Make the batches of some iterations no numbers while the rate is above a factor; return which were spoilt."""
    spoilt: list[int] = []
    true_step = Stepper.__call__

    def step(self: Stepper, batch: Batch) -> Outcome:
        if self.state.done in where and self.state.rate_factor > until_factor:
            spoilt.append(self.state.done)
            batch = batch | {"data": batch["data"] * math.nan}
        return true_step(self, batch)

    monkeypatch.setattr(Stepper, "__call__", step)
    return spoilt


def test_a_step_that_is_no_number_changes_nothing(cases: tuple[CachedCase, ...]) -> None:
    state = new_state(PLAN)
    step = Stepper(PLAN, state)
    good = {"data": torch.randn(2, 1, 8, 8, 8), "seg": torch.ones(2, 1, 8, 8, 8, dtype=torch.uint8), "keys": ["a", "b"]}
    good["hidden"] = [(), ()]
    step(good)
    before = {k: v.clone() for k, v in state.network.state_dict().items() if v.is_floating_point()}
    moments = [v["exp_avg"].clone() for v in state.optimiser.state_dict()["state"].values()]
    loss, norm = step(good | {"data": good["data"] * math.nan}).read()
    assert math.isnan(loss)
    assert math.isnan(norm)
    after = state.network.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    now = [v["exp_avg"] for v in state.optimiser.state_dict()["state"].values()]
    assert all(torch.equal(a, b) for a, b in zip(now, moments, strict=True))
    assert math.isfinite(step(good).read()[0])


def test_a_few_bad_steps_are_left_out(
    tmp_path: Path, cases: tuple[CachedCase, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, range(5, 8), until_factor=0.0)
    assert go(fold(tmp_path, cases))
    rows = read_rows(tmp_path / "log.csv")
    assert [row["iteration"] for row in rows if not row["loss"]] == ["6", "7", "8"]
    (network,), _, _ = load_networks(tmp_path / "model.autoseg", "cpu")
    assert all(p.isfinite().all() for p in network.parameters())


def test_an_explosion_is_rolled_back_at_half_the_rate(
    tmp_path: Path, cases: tuple[CachedCase, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = spoil(monkeypatch, range(20, 40), until_factor=0.5)
    assert go(fold(tmp_path, cases))
    assert len(spoilt) == BAD_IN_A_ROW
    rows = read_rows(tmp_path / "log.csv")
    assert [int(row["iteration"]) for row in rows] == list(range(1, 41))
    assert all(row["loss"] for row in rows)
    assert {row["learning_rate"] for row in rows} == {
        f"{PLAN.learning_rate / 2:.6g}"
    }  # from the first checkpoint, at 0
    state = new_state(PLAN)
    load_checkpoint(FoldFolder(tmp_path).checkpoint, PLAN, cases_digest(cases[:3]), state)
    assert (state.done, state.rate_factor) == (40, 0.5)


def test_explosions_without_end_are_an_error_with_a_way_out(
    tmp_path: Path, cases: tuple[CachedCase, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = spoil(monkeypatch, range(100), until_factor=0.0)
    with pytest.raises(TrainingError, match=r"exploded again after 3 roll-backs; plan a lower learning rate"):
        go(fold(tmp_path, cases))
    assert len(spoilt) == 4 * BAD_IN_A_ROW


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, cases: tuple[CachedCase, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_save, saved = saving.save_checkpoint, []

    def full(file: Path, *rest: Any, **named: Any) -> None:
        if saved:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        saved.append(file)
        true_save(file, *rest, **named)

    monkeypatch.setattr(saving, "save_checkpoint", full)
    with pytest.raises(TrainingError, match=r"the disk is full \(iteration 40\); the last checkpoint is kept"):
        go(fold(tmp_path, cases))
    monkeypatch.setattr(saving, "save_checkpoint", true_save)
    assert go(fold(tmp_path, cases))
    assert len(read_rows(tmp_path / "log.csv")) == 40


def test_patience_ends_a_training_and_a_run_without_it_goes_on(
    tmp_path: Path, cases: tuple[CachedCase, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_examine = loop.examine

    def flat(*what: Any) -> Any:
        found = true_examine(*what)
        return type(found)(loss=found.loss, dice=dict.fromkeys(found.dice, 0.5))

    monkeypatch.setattr(loop, "examine", flat)
    assert go(fold(tmp_path, cases, patience=3))
    assert len(read_rows(tmp_path / "log.csv")) == 8  # examined at 2, 4, 6 and 8; the first one was the best
    assert go(fold(tmp_path, cases, patience=3))  # still enough
    assert len(read_rows(tmp_path / "log.csv")) == 8
    assert go(fold(tmp_path, cases))
    assert len(read_rows(tmp_path / "log.csv")) == 40


def test_testing_cases_are_examined_and_decide_nothing(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    assert go(fold(tmp_path / "a", cases))
    assert go(fold(tmp_path / "b", cases, testing=cases[:1]))
    without, tested = (read_rows(tmp_path / name / "log.csv") for name in "ab")
    assert [row["loss"] for row in without] == [row["loss"] for row in tested]
    assert [bool(row["dice_testing_liver"]) for row in tested[:4]] == [False, True, False, True]
    assert all(float(row["loss_testing"]) < 3 for row in tested if row["loss_testing"])
    assert not any(row["dice_testing_liver"] for row in without)


def test_tensorboard_gets_the_log(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert go(fold(tmp_path, cases, made.plan(iterations=20), tensorboard=True))
    seen = events.EventAccumulator(str(tmp_path / "tensorboard"))
    seen.Reload()
    assert [e.step for e in seen.Scalars("loss")] == list(range(1, 21))
    assert len(seen.Scalars("dice_validation/liver")) == 20


def test_weights_of_an_explosion_at_the_very_end_are_not_the_result(
    tmp_path: Path, cases: tuple[CachedCase, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_read = Outcome.read
    job = fold(tmp_path, cases)
    steps: list[int] = []

    def read(self: Outcome) -> tuple[float, float]:
        steps.append(1)
        loss, norm = true_read(self)
        return (1e3, norm) if PLAN.iterations - 3 <= len(steps) <= PLAN.iterations else (loss, norm)

    monkeypatch.setattr(Outcome, "read", read)
    assert go(job)
    state = new_state(PLAN)
    load_checkpoint(FoldFolder(tmp_path).checkpoint, PLAN, cases_digest(job.training), state)
    assert (state.done, state.rate_factor) == (PLAN.iterations, 0.5)
    assert len(steps) == 2 * PLAN.iterations  # from the checkpoint before the first iteration again
