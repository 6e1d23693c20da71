"""Watching a training: steps that go wrong, organs that are lost, Dice that no longer grows, waiting for data."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)
BAD_IN_A_ROW = 10  # iterations; then the training is rolled back
EXPLODED = 10.0  # times the mean loss of the first iterations, in distance from the least value of the loss
FIRST = 20  # iterations that say what a normal loss is
MOST_ROLLBACKS = 3
LOST, HAD = 0.01, 0.2  # Dice of an organ that is lost, and that it must have had before
WAITED = 0.05  # share of the time above which waiting for data is worth a word
WAIT_WINDOW = 200  # iterations over which it is looked at


class StepWatch:
    """Looks at every iteration's loss, gradient and waiting time."""

    def __init__(self, workers: int, least_loss: float) -> None:
        """Begin.

        Args:
            workers: Named in the warning that the data come too slowly.
            least_loss: The least value that the loss can have.
        """
        self._workers, self._least = workers, least_loss
        self._first: list[float] = []
        self._bad_in_a_row = 0
        self._moved = False  # whether a bad iteration of this row moved the weights
        self._waits: deque[float] = deque(maxlen=WAIT_WINDOW)
        self._has_warned = False

    @property
    def has_exploded(self) -> bool:
        """Whether so many iterations in a row went wrong that the training should be rolled back."""
        return self._bad_in_a_row >= BAD_IN_A_ROW

    @property
    def is_calm(self) -> bool:
        """Whether the weights may be kept: no iteration of an explosion that may be under way has moved them."""
        return not self._moved

    @property
    def was_never_good(self) -> bool:
        """Whether all iterations so far went wrong."""
        return self._bad_in_a_row > 0 and not self._first

    def add(self, iteration: int, loss: float, norm: float, wait_share: float, cases: Sequence[str]) -> None:
        """Take one iteration, on crops of `cases`."""
        self._look_at_waiting(wait_share)
        if self._take(loss, norm) and self._bad_in_a_row == 1:
            what = "far above what it was" if math.isfinite(loss + norm) else "the weights stay as they were"
            sentence = f"iteration {iteration}: the loss is {loss:.4g}, the gradient {norm:.4g}: {what}"
            logger.warning("%s (crops of %s)", sentence, ", ".join(cases))

    def recall(self, loss: float, norm: float) -> None:
        """Take one iteration of a training that is being continued: without a warning, which was given before."""
        self._take(loss, norm)

    def _take(self, loss: float, norm: float) -> bool:
        """Count an iteration; return whether it went wrong."""
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite and len(self._first) < FIRST:
            self._first.append(loss)
        normal = sum(self._first) / len(self._first) if self._first else 0.0
        if finite and loss - self._least <= EXPLODED * max(normal - self._least, 0.1):
            self._bad_in_a_row, self._moved = 0, False
            return False
        self._bad_in_a_row += 1
        self._moved |= finite
        return True

    def _look_at_waiting(self, share: float) -> None:
        self._waits.append(share)
        if self._has_warned or len(self._waits) < WAIT_WINDOW:
            return
        mean = sum(self._waits) / len(self._waits)
        if mean > WAITED:
            self._has_warned = True
            logger.warning(
                "a step waits %.0f %% of its time for data: give more --workers (now %d), or put RUN on a faster disk",
                100 * mean,
                self._workers,
            )


class DiceWatch:
    """Looks at the validation Dice of each examination, also at those of a training that is being continued."""

    def __init__(self, patience: int | None) -> None:
        """Begin; after `patience` examinations without a better mean Dice `is_enough`; None: never."""
        self._patience = patience
        self._best, self._since = -math.inf, 0
        self.last: dict[str, float] = {}
        self._most: dict[str, float] = {}
        self._lost: set[str] = set()

    def add(self, iteration: int, dice: Mapping[str, float]) -> None:
        """Take one examination: Dice by organ, NaN where no case has it."""
        for organ in self._take(dice):
            logger.warning(
                "iteration %d: %s is no longer found in the validation cases (Dice %.3f, was %.3f); if it does not "
                "come back, plan with a higher organ_share or a lower learning_rate",
                iteration, organ, dice[organ], self._most[organ],
            )  # fmt: skip

    def recall(self, dice: Mapping[str, float]) -> None:
        """Take one examination of a training that is being continued: without a warning, which was given before."""
        self._take(dice)

    def _take(self, dice: Mapping[str, float]) -> list[str]:
        """Count an examination; return the organs that were found before, and are no longer."""
        present = {organ: value for organ, value in dice.items() if not math.isnan(value)}
        if not present:
            return []
        self.last = dict(dice)
        mean = sum(present.values()) / len(present)
        self._best, self._since = (mean, 0) if mean > self._best else (self._best, self._since + 1)
        lost = []
        for organ, value in present.items():
            self._most[organ] = max(value, self._most.get(organ, 0.0))
            if value < LOST and self._most[organ] > HAD and organ not in self._lost:
                self._lost.add(organ)
                lost.append(organ)
            elif value > HAD:
                self._lost.discard(organ)
        return lost

    @property
    def is_enough(self) -> bool:
        """Whether the Dice has not grown for so long that the training may end."""
        return self._patience is not None and self._since >= self._patience
