"""The training of one fold, from the first iteration or from a checkpoint."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from autoseg.data.batches import Batch, open_batches
from autoseg.data.cache import CachedCase
from autoseg.errors import TrainingError
from autoseg.inference.models import MODEL_NAME, save_model
from autoseg.network.device import autocast, place
from autoseg.network.unet import UNet3D
from autoseg.plan import Plan
from autoseg.training.checkpoint import load_checkpoint, save_checkpoint
from autoseg.training.log import Log
from autoseg.training.loss import segmentation_loss
from autoseg.training.schedule import learning_rate
from autoseg.training.validate import working_dice

CHECKPOINT_NAME = "checkpoint.safetensors"
SAVE_EVERY_S = 120.0
VALIDATIONS = 20  # times over the whole training
VALIDATION_CASES = 4  # predicted each time


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the loop tells its caller after each iteration."""

    iteration: int  # done so far
    iterations: int  # wanted
    loss: float
    dice: dict[str, float]  # by organ, of the last validation


@dataclass(kw_only=True)
class State:
    """What training changes: weights, their average, and the optimiser's moments."""

    network: nn.Module
    average: nn.Module | None
    optimiser: Optimizer

    @property
    def best(self) -> nn.Module:
        """The weights to predict with."""
        return self.network if self.average is None else self.average


def train(
    plan: Plan,
    training: Sequence[CachedCase],
    validation: Sequence[CachedCase],
    folder: Path,
    workers: int,
    tell: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> bool:
    """Train one fold until the plan's iterations are done; go on from its checkpoint where there is one.

    Writes `model.autoseg`, `checkpoint.safetensors` and `log.csv` into `folder`.

    Args:
        plan: All settings.
        training: Cases to learn from.
        validation: Cases to watch; they do not change the weights.
        folder: Of the fold.
        workers: Augmentation processes.
        tell: Called after each iteration.
        stop: Asked after each iteration; when true, everything is saved and training ends.

    Returns:
        Whether all iterations are done.

    Raises:
        TrainingError: If crops cannot be made or the loss is not finite.
        ModelError: If the checkpoint does not fit the plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = new_state(plan)
    checkpoint = folder / CHECKPOINT_NAME
    done = 0
    if checkpoint.is_file():
        done = load_checkpoint(checkpoint, plan, state.network, state.average, state.optimiser)
    log = Log(folder / "log.csv", [organ.name for organ in plan.labels], done)
    try:
        if done < plan.iterations:
            save(plan, state, folder, done, log)  # finds a full disk before the first iteration, not after the last
            with open_batches(training, plan, done, workers) as batches:
                done = _iterate(plan, state, batches, validation[:VALIDATION_CASES], folder, log, done, tell, stop)
    finally:
        log.close()
    return done >= plan.iterations


def new_state(plan: Plan) -> State:
    """Return a freshly initialised network on the plan's device, its average and its optimiser; seeded."""
    torch.manual_seed(plan.seed)
    network = place(UNet3D(len(plan.channels), plan.classes, plan.network), plan.device)
    average = copy.deepcopy(network).eval().requires_grad_(False) if plan.optimiser.averaging else None
    kind = Adam if plan.optimiser.name == "adam" else AdamW
    optimiser = kind(
        network.parameters(),
        lr=plan.learning_rate,
        weight_decay=plan.optimiser.weight_decay,
        fused=plan.device != "mps",
    )
    return State(network=network, average=average, optimiser=optimiser)


def step(plan: Plan, state: State, batch: Batch, iteration: int) -> float:
    """Do one iteration; return its loss.

    Raises:
        TrainingError: If the loss is not finite; the weights are then as before.
    """
    image, truth = _on_device(batch, plan)
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(iteration, plan)
    with autocast(plan.device):
        logits = state.network(image)
    loss = segmentation_loss(logits, truth, plan.loss)
    value = float(loss.detach())
    if not torch.isfinite(loss):
        raise TrainingError(
            f"iteration {iteration}: the loss is {value}; go on with a lower learning rate, as in "
            f"`autoseg plan … --set learning_rate={plan.learning_rate / 10:g} --force`"
        )
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if plan.optimiser.gradient_clip is not None:
        nn.utils.clip_grad_norm_(state.network.parameters(), plan.optimiser.gradient_clip)
    state.optimiser.step()
    if state.average is not None:
        _average(state.average, state.network, iteration, plan.optimiser.averaging)
    return value


def save(plan: Plan, state: State, folder: Path, done: int, log: Log) -> None:
    """Write log, checkpoint and model after `done` iterations."""
    log.flush()
    save_checkpoint(folder / CHECKPOINT_NAME, plan, done, state.network, state.average, state.optimiser)
    save_model(folder / MODEL_NAME, plan, state.best.state_dict(), {"iteration": done})


def _iterate(
    plan: Plan,
    state: State,
    batches: Iterator[Batch],
    validation: Sequence[CachedCase],
    folder: Path,
    log: Log,
    done: int,
    tell: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> int:
    interval = max(1, plan.iterations // VALIDATIONS)
    saved = time.monotonic()
    dice: dict[str, float] = {}
    try:
        while done < plan.iterations and not stop():
            began = time.monotonic()
            batch = next(batches)
            waited = time.monotonic() - began
            # ---- the step ----
            loss = step(plan, state, batch, done)
            # ------------------
            seconds = time.monotonic() - began
            done += 1
            row = {"iteration": done, "loss": loss, "learning_rate": learning_rate(done - 1, plan)}
            row |= {"seconds": seconds, "wait_share": waited / seconds}
            if validation and (done % interval == 0 or done == plan.iterations):
                dice = working_dice(state.best, plan, validation)
                row |= {f"dice_validation_{organ}": value for organ, value in dice.items()}
            log.add(row)
            if time.monotonic() - saved > SAVE_EVERY_S:
                save(plan, state, folder, done, log)
                saved = time.monotonic()
            tell(Progress(iteration=done, iterations=plan.iterations, loss=loss, dice=dice))
    except TrainingError:  # raised before the weights change, so what is there is whole
        save(plan, state, folder, done, log)
        raise
    save(plan, state, folder, done, log)
    return done


def _on_device(batch: Batch, plan: Plan) -> tuple[Tensor, Tensor]:
    image, truth = torch.as_tensor(batch["data"]), torch.as_tensor(batch["seg"])[:, 0]
    if plan.device == "mps":
        return image.to("mps"), truth.to("mps").long()
    placed = image.to(plan.device, memory_format=torch.channels_last_3d, non_blocking=True)
    return placed, truth.to(plan.device, non_blocking=True).long()


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, iteration: int, decay: float) -> None:
    """Move the running average towards the weights; the decay grows with the iteration, so the start is forgotten."""
    share = 1 - min(decay, (1 + iteration) / (10 + iteration))
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, share)
        else:
            kept.copy_(new)
