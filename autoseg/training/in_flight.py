"""Iterations in flight: started one after another, each logged and watched once the device has done it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autoseg.data.batches import Batch
from autoseg.training.log import Log
from autoseg.training.step import Outcome, Stepper
from autoseg.training.watch import StepWatch

Row = dict[str, float]  # of the log


@dataclass
class _Launched:
    """An iteration that was started."""

    row: Row
    outcome: Outcome
    began: float
    waited_s: float
    cases: list[str]
    values: tuple[float, float] | None = None  # loss and gradient norm, where they were waited for before
    ended: float | None = None  # when they were there


class InFlight:
    """Starts iterations, and looks at them while later ones are under way."""

    def __init__(
        self, step: Stepper, batches: Iterator[Batch], log: Log, watch: StepWatch, tell: Callable[[Row], None]
    ) -> None:
        """Begin with none.

        Args:
            step: Starts one.
            batches: To learn from.
            log: Gets the row of each that is done.
            watch: Looks at it.
            tell: Is given the row.
        """
        self._step, self._batches, self._log, self._watch, self._tell = step, batches, log, watch, tell
        self._pending: list[_Launched] = []  # oldest first
        self._ended = 0.0  # when the last one that was looked at ended
        self._before: Outcome | None = None  # that one

    def launch(self) -> None:
        """Start the next iteration."""
        began = time.monotonic()
        batch = next(self._batches)
        waited_s = time.monotonic() - began
        row = {"iteration": self._step.state.done + 1, "learning_rate": self._step.rate}
        self._pending.append(_Launched(row, self._step(batch), began, waited_s, batch["keys"]))

    @property
    def newest(self) -> Row:
        """The row of the iteration that was started last, to add to."""
        return self._pending[-1].row

    def wait(self) -> None:
        """Wait until all that was started is done, so that what comes before it is looked at is not counted with it."""
        for launched in self._pending:
            launched.values, launched.ended = launched.outcome.read(), time.monotonic()

    def look_at(self, all_but: int) -> None:
        """Wait for the iterations that were started, but for the last ones; log, watch and tell them."""
        while len(self._pending) > all_but:
            launched = self._pending.pop(0)
            row = launched.row
            loss, norm = launched.values or launched.outcome.read()
            row |= {"loss": loss, "gradient_norm": norm} | self._times(launched)
            self._log.add(row)
            self._watch.add(int(row["iteration"]), loss, norm, row["wait_share"], launched.cases)
            self._tell(row)

    def _times(self, launched: _Launched) -> Row:
        """Return how long an iteration took, and the share of it in which data were waited for."""
        ended = launched.outcome.ended or launched.ended or time.monotonic()
        took = ended - max(launched.began, self._ended)  # on a GPU it may have begun while the one before it ran
        self._ended = ended
        idle_s = launched.outcome.idle_s(self._before)  # a GPU may be busy while the next batch is waited for
        waited_s = launched.waited_s if idle_s is None else min(idle_s, launched.waited_s)
        self._before = launched.outcome
        return {"seconds": took, "wait_share": min(1.0, waited_s / took) if took > 0 else 0.0}
