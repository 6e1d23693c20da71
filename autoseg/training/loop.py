"""The training of one fold, from the first iteration or from a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from autoseg.data.batches import Batch, open_batches
from autoseg.data.cache import CachedCase, cases_key
from autoseg.inference.models import MODEL_NAME, save_model
from autoseg.network.device import memory_explained
from autoseg.plan import Plan
from autoseg.training.checkpoint import load_checkpoint, save_checkpoint
from autoseg.training.curves import draw_curves
from autoseg.training.log import Log
from autoseg.training.schedule import learning_rate
from autoseg.training.state import State, new_state, step
from autoseg.training.validate import working_dice

CHECKPOINT_NAME = "checkpoint.safetensors"
SAVE_EVERY_S = 120.0
VALIDATIONS = 20  # times over the whole training
VALIDATION_CASES = 4  # predicted each time


@dataclass(frozen=True, kw_only=True)
class Fold:
    """What one fold's training is made of."""

    plan: Plan
    training: tuple[CachedCase, ...]  # to learn from
    validation: tuple[CachedCase, ...]  # to watch; they do not change the weights
    folder: Path  # gets model.autoseg, checkpoint.safetensors, log.csv and curves.png
    workers: int  # augmentation processes


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the loop tells its caller after each iteration."""

    iteration: int  # done so far
    iterations: int  # wanted
    loss: float
    dice: dict[str, float]  # by organ, of the last validation


def train(fold: Fold, tell: Callable[[Progress], None], stop: Callable[[], bool]) -> bool:
    """Train one fold until the plan's iterations are done; go on from its checkpoint where there is one.

    Args:
        fold: Plan, cases and folder.
        tell: Called after each iteration.
        stop: Asked before each iteration; when true, everything is saved and training ends.

    Returns:
        Whether all iterations are done.

    Raises:
        TrainingError: If crops cannot be made or the loss is not finite; the last checkpoint stays.
        ModelError: If the checkpoint does not fit the plan.
    """
    fold.folder.mkdir(parents=True, exist_ok=True)
    state = new_state(fold.plan)
    checkpoint = fold.folder / CHECKPOINT_NAME
    if checkpoint.is_file():
        load_checkpoint(checkpoint, fold.plan, cases_key(fold.training), state)
    if state.done >= fold.plan.iterations and (fold.folder / MODEL_NAME).is_file():
        return True
    log = Log(fold.folder / "log.csv", [organ.name for organ in fold.plan.labels], state.done)
    try:
        _save(fold, state, log)  # finds a full disk before the first iteration, not after the last
        with open_batches(fold.training, fold.plan, state.done, fold.workers) as batches:
            _iterate(fold, state, batches, log, tell, stop)
    finally:
        log.close()
    return state.done >= fold.plan.iterations


def _iterate(
    fold: Fold,
    state: State,
    batches: Iterator[Batch],
    log: Log,
    tell: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> None:
    plan, dice = fold.plan, dict[str, float]()
    saved = time.monotonic()
    while state.done < plan.iterations and not stop():
        began = time.monotonic()
        batch = next(batches)
        waited = time.monotonic() - began
        # ---- the step ----
        with memory_explained("plan again with a smaller --gpu-memory, or with --set batch_size=1"):
            loss = step(plan, state, batch)
        # ------------------
        seconds = time.monotonic() - began
        row = {"iteration": state.done, "loss": loss, "learning_rate": learning_rate(state.done - 1, plan)}
        row |= {"seconds": seconds, "wait_share": waited / seconds}
        if _is_validated(state.done, fold):
            dice = working_dice(state.best, plan, fold.validation[:VALIDATION_CASES])
            log.add(row | {f"dice_validation_{organ}": value for organ, value in dice.items()})
            log.flush()
            draw_curves(fold.folder, list(dice), fold.folder / "curves")
        else:
            log.add(row)
        if time.monotonic() - saved > SAVE_EVERY_S:
            _save(fold, state, log)
            saved = time.monotonic()
        tell(Progress(iteration=state.done, iterations=plan.iterations, loss=loss, dice=dice))
    _save(fold, state, log)


def _is_validated(done: int, fold: Fold) -> bool:
    interval = max(1, fold.plan.iterations // VALIDATIONS)
    return bool(fold.validation) and (done % interval == 0 or done == fold.plan.iterations)


def _save(fold: Fold, state: State, log: Log) -> None:
    log.flush()
    save_checkpoint(fold.folder / CHECKPOINT_NAME, fold.plan, cases_key(fold.training), state)
    if state.done:  # an untrained network is no model
        facts = {"iteration": state.done, "trained_on": [case.id for case in fold.training]}
        save_model(fold.folder / MODEL_NAME, fold.plan, state.best.state_dict(), facts)
