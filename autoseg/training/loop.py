"""The training of one fold, from the first iteration or from a checkpoint."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from autoseg.data.batches import open_batches
from autoseg.data.cache import CachedCase, cases_digest, covering_cases
from autoseg.errors import TrainingError
from autoseg.network.device import memory_explained
from autoseg.network.distributed import barrier, from_first, process_rank, world_size
from autoseg.network.losses import LOSSES
from autoseg.plan import Plan
from autoseg.run import FoldFolder
from autoseg.training.checkpoint import load_checkpoint, resume
from autoseg.training.in_flight import InFlight, Row
from autoseg.training.log import Log, draw_curves, read_rows
from autoseg.training.saving import Saver
from autoseg.training.state import new_state
from autoseg.training.step import Stepper
from autoseg.training.validate import examinations, examine
from autoseg.training.watch import MOST_ROLLBACKS, DiceWatch, StepWatch

logger = logging.getLogger(__name__)
SAVE_EVERY_S = 120.0
DRAW_EVERY_S = 60.0  # curves.png, after an examination; it takes about a second
WAY_OUT = "plan again with a smaller --gpu-memory, or with --set batch_size=1"
EXAMINED_CASES = 4  # of validation and of testing, predicted each time


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold to train: its plan, its cases and its files."""

    plan: Plan
    training: tuple[CachedCase, ...]  # to learn from
    validation: tuple[CachedCase, ...]  # to watch; they do not change the weights
    testing: tuple[CachedCase, ...] = ()  # for the curves alone: nothing is decided by them
    files: FoldFolder  # which model, checkpoint, log and curves go to
    first_stage: str = ""  # of a second stage: digest of the weights of the first
    has_second: bool = False  # a second stage follows
    workers: int  # augmentation processes
    patience: int | None = None  # examinations without a better validation Dice after which training ends
    tensorboard: bool = False  # whether to write the log for TensorBoard too


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the loop tells its caller after each iteration."""

    iteration: int  # done so far
    iterations: int  # in all
    loss: float
    dice: dict[str, float]  # by organ, of the last validation
    is_examined: bool  # whether that was after this iteration
    stage: int = 0  # of the plan
    turn: tuple[int, int] = (1, 1)  # which of the folds that are trained one after another, and of how many


def train(fold: Fold, tell: Callable[[Progress], None], stop: Callable[[], bool]) -> bool:
    """Train one fold until the plan's iterations are done; go on from its checkpoint where there is one.

    Where several processes train together, all call this; the first one writes the files and is asked to stop.

    Args:
        fold: Plan, cases and files.
        tell: Called after each iteration.
        stop: Asked before each iteration; when true, everything is saved and training ends.

    Returns:
        Whether all iterations are done, or the Dice grew no more for `patience` examinations.

    Raises:
        TrainingError: If crops cannot be made, the loss explodes again and again, or the disk is full; the last
            checkpoint stays.
        TooLittleMemoryError: If the device cannot hold a step.
        ModelError: If the checkpoint does not fit the plan.
    """
    fold.files.folder.mkdir(parents=True, exist_ok=True)
    training = _Training(fold, tell, stop)
    try:
        return training.run()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        last = "the last checkpoint is kept" if training.checkpoint.is_file() else "no checkpoint is written yet"
        raise TrainingError(
            f"{fold.files.folder}: the disk is full (iteration {training.state.done}); {last}: free some space, then "
            "the same command goes on"
        ) from error


class _Training:
    """One fold's training under way."""

    def __init__(self, fold: Fold, tell: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
        self.fold, self.plan, self.tell, self.stop = fold, fold.plan, tell, stop
        self.checkpoint = fold.files.checkpoint
        with memory_explained(WAY_OUT):
            self.state = new_state(fold.plan)
            self.saver = Saver(fold.files, fold.plan, fold.training, fold.first_stage, has_second=fold.has_second)
            self.is_saved = resume(fold.files, fold.plan, fold.training, self.state)
        self._require_one_start()
        self.watch, self.dice = self._watches()
        watched = covering_cases(fold.validation, EXAMINED_CASES)  # testing cases do not even decide this
        self.interval = -(-self.plan.iterations // examinations(self.plan, watched))  # none just before the last one
        self.saved_at = self.drawn_at = time.monotonic()

    def run(self) -> bool:
        """Train, after every roll-back anew from the last checkpoint; return whether the training is finished."""
        if self._is_finished() and self.is_saved:
            return True
        barrier()  # nobody looks at the files while the first one may already write them
        try:
            while not self._ran_through():
                self._roll_back()
            self.saver.wait()
        finally:
            self.saver.let_end()
        return self._is_finished()

    def _ran_through(self) -> bool:
        """Go on from the state as it is until all is done or the user stops it; false: the loss exploded."""
        with self._open_log() as log:
            self._save(log)
            self.saver.wait()  # finds a full disk before the first iteration, not after the last
            with open_batches(
                self.fold.training, self.plan, self.state.done, self.fold.workers, (process_rank(), world_size())
            ) as batches:
                step = Stepper(self.plan, self.state)
                return self._iterate(step, InFlight(step, batches, log, self.watch, self._tell), log)

    def _iterate(self, step: Stepper, flight: InFlight, log: Log) -> bool:
        """Do iterations until they are done or the user stops them; false: the loss exploded."""
        while not self._is_finished():
            stopped, is_saved = self._asked()
            if stopped:
                break
            # ---- the step, started; the one before it is looked at meanwhile ----
            with memory_explained(WAY_OUT):
                flight.launch()
                flight.look_at(all_but=1)
            # ----------------------------------------------------------------------
            self.saver.require_well()
            if self._is_examined():
                flight.wait()
                step.release()
                self._examine(flight.newest)
            if is_saved or self._is_examined():
                flight.look_at(all_but=0)
            if self.watch.has_exploded:
                return False
            if self._is_examined():
                log.flush()
                if time.monotonic() - self.drawn_at > DRAW_EVERY_S:
                    self._draw_curves()
            if is_saved and self.watch.is_calm:
                self._save(log)
        flight.look_at(all_but=0)
        log.flush()
        self._draw_curves()
        if self.watch.has_exploded or self.watch.was_never_good:
            return False
        if self.watch.is_calm:
            self._save(log)
            return True
        return not self._is_finished()  # stopped: the last checkpoint stays; at the end: back to it

    def _asked(self) -> tuple[bool, bool]:
        """Return whether to stop, and whether to save after this iteration: what the first process says."""
        due = time.monotonic() - self.saved_at > SAVE_EVERY_S
        flags = int(from_first(2 * self.stop() + due))
        return bool(flags & 2), bool(flags & 1)

    def _tell(self, row: Row) -> None:
        self.tell(
            Progress(
                iteration=int(row["iteration"]),
                iterations=self.plan.iterations,
                loss=row["loss"],
                dice=self.dice.last,
                is_examined="loss_validation" in row,
            )
        )

    def _is_examined(self) -> bool:
        done = self.state.done
        return bool(self.fold.validation) and (done % self.interval == 0 or done == self.plan.iterations)

    def _examined(self) -> list[tuple[str, tuple[CachedCase, ...]]]:
        """Return which cases are examined; without validation none are."""
        sides = (("validation", self.fold.validation), ("testing", self.fold.testing))
        chosen = [(split, covering_cases(cases, EXAMINED_CASES)) for split, cases in sides if cases]
        return chosen if self.fold.validation else []

    def _examine(self, row: Row) -> None:
        """Predict a few cases whole; all processes do."""
        for split, cases in self._examined():
            result = examine(self.state.best, self.plan, cases)
            row[f"loss_{split}"] = result.loss
            row |= {f"dice_{split}_{organ}": value for organ, value in result.dice.items()}
            if split == "validation":
                dice = {organ: from_first(value) for organ, value in result.dice.items()}  # all decide the same
                self.dice.add(self.state.done, dice)
        self.state.network.train()

    def _draw_curves(self) -> None:
        self.drawn_at = time.monotonic()
        if process_rank() > 0:
            return
        counts = {split: len(cases) for split, cases in self._examined()}
        draw_curves(self.fold.files.log, [o.name for o in self.plan.labels], self.fold.files.curves, counts)

    def _require_one_start(self) -> None:
        """Refuse processes that would go on from different iterations, as where their folders are not one."""
        first = int(from_first(self.state.done))
        if first != self.state.done:
            raise TrainingError(
                f"{self.checkpoint}: process {process_rank()} finds iteration {self.state.done}, the first one {first}"
                "; all must see the same RUN: put it on a folder that they share, then start again"
            )

    def _watches(self) -> tuple[StepWatch, DiceWatch]:
        """Return what watches steps and Dice, having seen what the log holds of the iterations that are done."""
        steps = StepWatch(self.fold.workers, LOSSES[self.plan.loss.kind].least)
        examined = DiceWatch(self.fold.patience)
        for row in read_rows(self.fold.files.log):
            if int(row["iteration"]) <= self.state.done:
                steps.recall(float(row["loss"] or "nan"), float(row["gradient_norm"] or "nan"))
                dice = {o.name: row.get(f"dice_validation_{o.name}") or "nan" for o in self.plan.labels}
                examined.recall({organ: float(value) for organ, value in dice.items()})
        return steps, examined

    def _is_finished(self) -> bool:
        return self.state.done >= self.plan.iterations or self.dice.is_enough

    def _open_log(self) -> Log:
        organs = [organ.name for organ in self.plan.labels]
        return Log(self.fold.files, organs, self.state.done, self.fold.tensorboard, silent=process_rank() > 0)

    def _save(self, log: Log) -> None:
        self.saved_at = time.monotonic()
        if process_rank() == 0:
            log.flush()
            self.saver.save(self.state)

    def _roll_back(self) -> None:
        """Go back to the last checkpoint and halve the rate.

        Raises:
            TrainingError: If it was done too often.
        """
        exploded_at, factor = self.state.done, self.state.rate_factor / 2
        if factor < 0.5**MOST_ROLLBACKS:
            raise TrainingError(
                f"iteration {exploded_at}: the loss exploded again after {MOST_ROLLBACKS} roll-backs; plan a lower "
                f"learning rate (--set learning_rate={self.plan.learning_rate / 10:g}) and look at the data check"
            )
        self.saver.wait()
        barrier()  # nobody reads while the first one may still write
        load_checkpoint(self.checkpoint, self.plan, cases_digest(self.fold.training), self.state)
        self._require_one_start()
        self.state.rate_factor = factor
        self.watch, self.dice = self._watches()
        logger.warning(
            "iteration %d: the loss exploded; back to iteration %d, with %g of the learning rate",
            exploded_at, self.state.done, factor,
        )  # fmt: skip
