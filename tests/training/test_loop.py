"""Tests of autoseg.training.loop on tiny cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import made
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from autoseg.data.batches import open_batches
from autoseg.data.cache import CachedCase, cases_digest
from autoseg.errors import ModelError, TrainingError
from autoseg.network.weights import load_networks, read_facts
from autoseg.plan import AugmentationPlan, LossPlan, OptimiserPlan, Plan
from autoseg.run import FoldFolder
from autoseg.training import in_flight, loop, saving
from autoseg.training.checkpoint import CHECKPOINT, load_checkpoint, planned_iterations
from autoseg.training.log import read_rows
from autoseg.training.loop import Fold, Progress, train
from autoseg.training.state import new_state
from autoseg.training.step import Outcome, Stepper
from autoseg.training.validate import examine

PLAN = made.plan(
    augmentation=AugmentationPlan(rotation_deg=10, translation_voxels=1, bspline_voxels=1, noise=0.1),
    optimiser=OptimiserPlan(
        name="adamw", schedule="cosine", warmup_iterations=2, weight_decay=1e-4, gradient_clip=1.0, averaging=0.9
    ),
    loss=LossPlan(kind="dice-ce", background=False, over="batch", weights=(1, 2, 3), fade_weights=True),
)


@pytest.fixture(autouse=True)
def draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "draw_curves", lambda *_: [])


@pytest.fixture
def cases(tmp_path: Path) -> tuple[CachedCase, ...]:
    return made.easy_cases(tmp_path / "cache", 4)


def fold(folder: Path, cases: tuple[CachedCase, ...], plan: Plan = PLAN) -> Fold:
    return Fold(plan=plan, training=cases[:3], validation=cases[3:], files=FoldFolder(folder), workers=0)


def stop_after(iterations: int) -> tuple[Callable[[Progress], None], Callable[[], bool]]:
    """Return what to tell and what to ask, so that training stops after some iterations."""
    done: list[int] = []
    return (lambda progress: done.append(progress.iteration)), (lambda: len(done) >= iterations)


def go(fold: Fold, iterations: int = 10**6) -> bool:
    return train(fold, *stop_after(iterations))


def tensors(file: Path) -> dict[str, list[float]]:
    """Return what a model or checkpoint holds; the order of a safetensors header is not decided."""
    return {name: tensor.flatten().tolist() for name, tensor in load_file(file).items()}


def lasting(folder: Path) -> list[dict[str, str]]:
    """Return the log without what the clock decides."""
    clock = ("seconds", "wait_share")
    return [{k: v for k, v in row.items() if k not in clock} for row in read_rows(folder / "log.csv")]


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path, cases: tuple[CachedCase, ...], optimiser: str
) -> None:
    plan = PLAN.model_copy(update={"optimiser": PLAN.optimiser.model_copy(update={"name": optimiser})})
    straight, resumed = fold(tmp_path / "a", cases, plan), fold(tmp_path / "b", cases, plan)
    assert go(straight)
    assert not go(resumed, iterations=3)
    assert go(resumed)
    for name in ("model.autoseg", "checkpoint.safetensors"):
        assert tensors(tmp_path / "a" / name) == tensors(tmp_path / "b" / name)
    assert lasting(tmp_path / "a") == lasting(tmp_path / "b")
    assert [row["iteration"] for row in lasting(tmp_path / "b")] == ["1", "2", "3", "4", "5", "6"]


def test_what_was_logged_after_the_last_checkpoint_is_done_again(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    straight, killed = fold(tmp_path / "a", cases), fold(tmp_path / "b", cases)
    go(straight)
    go(killed, iterations=2)
    saved = FoldFolder(tmp_path / "b").checkpoint.read_bytes()
    go(killed, iterations=3)
    FoldFolder(tmp_path / "b").checkpoint.write_bytes(saved)  # as if killed in iteration 6, with the log on the disk
    with (tmp_path / "b" / "log.csv").open("a") as log:
        log.write("6,-0.4")
    assert go(killed)
    assert lasting(tmp_path / "a") == lasting(tmp_path / "b")


def test_stopping_leaves_a_model_that_predicts(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    assert not go(fold(tmp_path, cases), iterations=1)
    (network,), plan, _ = load_networks(tmp_path / "model.autoseg", "cpu")
    assert plan == PLAN
    assert network(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)


def test_a_finished_run_is_left_alone(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    go(fold(tmp_path, cases))
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir() if file.is_file()}
    assert go(fold(tmp_path, cases))
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir() if file.is_file()} == before


def test_a_finished_run_that_lost_its_model_gets_it_again(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    go(fold(tmp_path, cases))
    before = tensors(tmp_path / "model.autoseg")
    (tmp_path / "model.autoseg").unlink()
    assert go(fold(tmp_path, cases))
    assert tensors(tmp_path / "model.autoseg") == before


def test_a_run_killed_between_its_last_two_files_has_the_last_model(
    tmp_path: Path, cases: tuple[CachedCase, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    go(fold(tmp_path / "whole", cases))
    go(fold(tmp_path / "killed", cases), iterations=2)
    for second in ("save_model", "save_checkpoint"):
        true, calls = getattr(saving, second), list[int]()

        def save(*args: object, true: Callable[..., None] = true, calls: list[int] = calls, **named: object) -> None:
            calls.append(1)
            if len(calls) == 2:  # the first is that of the start
                raise KilledError
            true(*args, **named)

        with monkeypatch.context() as patch:
            patch.setattr(saving, second, save)
            with pytest.raises(KilledError):
                go(fold(tmp_path / "killed", cases))
    assert go(fold(tmp_path / "killed", cases))
    assert tensors(tmp_path / "killed" / "model.autoseg") == tensors(tmp_path / "whole" / "model.autoseg")


def test_the_model_is_the_average_of_the_weights(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    go(fold(tmp_path, cases))
    held = tensors(FoldFolder(tmp_path).checkpoint)
    (network,), _, _ = load_networks(tmp_path / "model.autoseg", "cpu")
    for name, values in network.named_parameters():
        assert values.flatten().tolist() == held[f"average.{name}"]
        assert values.flatten().tolist() != held[f"network.{name}"]


def test_a_run_goes_on_when_more_iterations_are_wanted(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    go(fold(tmp_path, cases))
    assert go(fold(tmp_path, cases, PLAN.model_copy(update={"iterations": 8})))
    assert len(lasting(tmp_path)) == 8


def test_another_plan_is_refused_and_nothing_is_overwritten(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    go(fold(tmp_path, cases), iterations=2)
    before = FoldFolder(tmp_path).checkpoint.read_bytes()
    with pytest.raises(ModelError, match="another plan"):
        go(fold(tmp_path, cases, PLAN.model_copy(update={"learning_rate": 0.5})))
    assert FoldFolder(tmp_path).checkpoint.read_bytes() == before


def test_the_loss_falls_and_the_organs_are_found_on_an_easy_task(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    easy = made.plan(iterations=60, learning_rate=0.03, loss=LossPlan(kind="dice-ce", background=False, over="batch"))
    assert go(fold(tmp_path, cases, easy))
    losses = [float(row["loss"]) for row in lasting(tmp_path)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.8
    (network,), _, _ = load_networks(tmp_path / "model.autoseg", "cpu")
    assert min(examine(network, easy, cases[3:]).dice.values()) > 0.7


def test_the_log_has_the_rate_of_each_iteration_and_the_dice_of_validations(
    tmp_path: Path, cases: tuple[CachedCase, ...], often_examined: None
) -> None:
    long = made.plan(iterations=40)
    train(fold(tmp_path, cases, long), *stop_after(4))
    rows = lasting(tmp_path)
    assert [row["learning_rate"] for row in rows] == ["0.01"] * 4
    assert [bool(row["dice_validation_liver"]) for row in rows] == [False, True, False, True]  # 20 in 40: every 2nd
    assert all(math.isfinite(float(row["loss"])) for row in rows)


@pytest.mark.parametrize("averaging", [0.9, 0.0])
def test_validation_does_not_change_the_training(
    tmp_path: Path, cases: tuple[CachedCase, ...], often_examined: None, averaging: float
) -> None:
    plan = PLAN.model_copy(update={"optimiser": PLAN.optimiser.model_copy(update={"averaging": averaging})})
    with_validation = fold(tmp_path / "a", cases, plan)
    without = Fold(plan=plan, training=cases[:3], validation=(), files=FoldFolder(tmp_path / "b"), workers=0)
    go(with_validation)
    go(without)
    assert tensors(FoldFolder(tmp_path / "a").checkpoint) == tensors(FoldFolder(tmp_path / "b").checkpoint)


def test_a_loss_that_is_no_number_stops_training_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    image, label = made.two_blocks((8, 8, 8))
    bad = made.cached_case(tmp_path / "cache", "bad", np.full_like(image, np.nan), label)
    plan = made.plan(batch_size=1)
    with pytest.raises(TrainingError, match=r"exploded again after 3 roll-backs.*learning_rate=0\.001"):
        go(Fold(plan=plan, training=(bad,), validation=(), files=FoldFolder(tmp_path), workers=0))
    state = new_state(plan)
    load_checkpoint(FoldFolder(tmp_path).checkpoint, plan, cases_digest((bad,)), state)
    assert all(torch.isfinite(p).all() for p in state.network.parameters())
    assert not (tmp_path / "model.autoseg").exists()  # nothing was learnt


def test_a_damaged_checkpoint_without_a_model_stops_training_before_it_begins(
    tmp_path: Path, cases: tuple[CachedCase, ...]
) -> None:
    FoldFolder(tmp_path).checkpoint.write_bytes(b"damaged")
    with pytest.raises(ModelError, match=f"no sound model lies beside it; .* or remove {tmp_path} to begin anew"):
        go(fold(tmp_path, cases))
    assert FoldFolder(tmp_path).checkpoint.read_bytes() == b"damaged"


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(file.read_bytes()[:1000]), Path.unlink])
def test_training_goes_on_from_the_model_where_the_checkpoint_is_damaged_or_gone(
    tmp_path: Path, cases: tuple[CachedCase, ...], caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object]
) -> None:
    go(fold(tmp_path, cases))
    files = FoldFolder(tmp_path)
    model = tensors(files.model)
    damage(files.checkpoint)
    assert planned_iterations(files) == PLAN.iterations
    assert go(fold(tmp_path, cases))  # finished: the checkpoint is written anew
    assert "going on from the model of iteration" in caplog.text
    assert tensors(files.model) == model
    kept = load_file(files.checkpoint)
    assert {name: kept[f"average.{name}"].flatten().tolist() for name in model} == model
    assert all(not kept[name].any() for name in kept if name.startswith("optimiser."))
    caplog.clear()
    more = PLAN.model_copy(update={"iterations": PLAN.iterations + 2})
    assert go(fold(tmp_path, cases, more))
    assert "going on" not in caplog.text
    assert len(read_rows(files.log)) == PLAN.iterations + 2


def test_a_model_of_other_cases_is_not_gone_on_from(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    go(fold(tmp_path, cases))
    FoldFolder(tmp_path).checkpoint.unlink()
    with pytest.raises(ModelError, match="was trained on other cases"):
        go(fold(tmp_path, cases[1:]))


def test_a_finished_run_whose_model_is_cut_short_gets_it_again(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    go(fold(tmp_path, cases))
    model = tmp_path / "model.autoseg"
    before = tensors(model)
    model.write_bytes(model.read_bytes()[:-100])
    assert go(fold(tmp_path, cases))
    assert tensors(model) == before


def test_a_training_that_another_one_has_overtaken_ends_and_leaves_its_work(
    tmp_path: Path, cases: tuple[CachedCase, ...]
) -> None:
    files = FoldFolder(tmp_path)

    def overtake(progress: Progress) -> None:
        if progress.iteration == 3:
            go(fold(tmp_path, cases))

    with pytest.raises(TrainingError, match="another training has written it meanwhile"):
        train(fold(tmp_path, cases), overtake, lambda: False)
    assert read_facts(files.checkpoint, CHECKPOINT)["iteration"] == str(PLAN.iterations)


def test_seeds_decide_the_first_weights() -> None:
    first, same, other = (
        torch.cat([p.flatten() for p in new_state(made.plan(seed=seed)).network.parameters()]) for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_the_average_follows_the_weights_from_afar(cases: tuple[CachedCase, ...]) -> None:
    state = new_state(PLAN)
    assert state.average is not None
    start = [p.detach().clone() for p in state.average.parameters()]
    with open_batches(cases, PLAN, 0, 0) as batches:
        step = Stepper(PLAN, state)
        for _ in range(3):
            step(next(batches))
    moved = sum(float((a - s).norm()) for a, s in zip(state.average.parameters(), start, strict=True))
    weights = sum(float((p.detach() - s).norm()) for p, s in zip(state.network.parameters(), start, strict=True))
    assert 0 < moved < weights
    assert state.best is state.average


def test_an_iteration_does_not_last_until_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(in_flight.time, "monotonic", lambda: float(next(now)))
    outcome = Outcome(values=torch.tensor([1.0, 2.0]))  # of a GPU: nobody knows when it ended
    step = SimpleNamespace(state=SimpleNamespace(done=0), rate=0.1)
    rows: list[dict[str, float]] = []
    quiet = SimpleNamespace(add=lambda *_: None)
    calls = type("Step", (SimpleNamespace,), {"__call__": lambda *_: outcome})(**vars(step))
    flight = in_flight.InFlight(calls, iter([{"keys": ["a"]}] * 2), quiet, quiet, rows.append)  # type: ignore[arg-type]
    flight.launch()  # begins at 0, has its batch at 1
    flight.wait()  # is done at 2
    for _ in range(20):  # meanwhile cases are examined
        next(now)
    flight.look_at(all_but=0)
    assert rows[0]["seconds"] == 2.0
