"""What is under way: in a terminal bars that move, elsewhere a line each minute; the same lines in RUN/log.txt."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from autoseg.cli import console
from autoseg.words import in_minutes

if TYPE_CHECKING:
    from autoseg.training.loop import Progress as TrainingProgress

Item = TypeVar("Item")
LINE_EVERY_S = 60.0
FIRST_LINE_S = 10.0  # of what cannot be counted: so soon after its start
LOOK_EVERY_S = 1.0  # whether that time has passed
BAR_WIDTH = 14  # characters; the words beside it matter more
SPEED_OVER_S = 300.0  # iterations may be seconds apart, examinations minutes
logger = logging.getLogger(__name__)


class _Show(Protocol):
    """Changes a row of the display."""

    def __call__(self, what: str, done: int, total: int, is_first: bool = False) -> None:
        """Show that so many are done; `is_first`: of something new."""


class _Count(MofNCompleteColumn):
    """So many of so many; blank where nothing is counted."""

    def render(self, task: Task) -> Text:
        """Return the count."""
        return Text() if task.total is None else super().render(task)


class _Left(TimeRemainingColumn):
    """The time that is left; blank where nothing is counted."""

    def render(self, task: Task) -> Text:
        """Return the time."""
        return Text() if task.total is None else super().render(task)


class Display:
    """Shows what a verb is doing, so that it is never silent for long."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._bars: Progress | None = None  # while a verb runs in a terminal
        self._phase = TaskID(0)  # the row of what cannot be counted
        self._what = ""  # is under way
        self._pace = _Pace(0)  # of all lines

    @contextmanager
    def shown(self, what: str) -> Iterator[None]:
        """Show in a terminal that something is under way, from the first moment on."""
        if not console.is_live():
            with self._heard(what):
                yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(BAR_WIDTH), _Count(), TimeElapsedColumn(), _Left())
        with Progress(
            *columns,
            console=console.console,
            transient=True,
            refresh_per_second=4,
            speed_estimate_period=SPEED_OVER_S,
            redirect_stderr=sys.stderr.isatty(),
        ) as self._bars:
            self._phase = self._bars.add_task(what, total=None)
            try:
                yield
            finally:
                self._bars = None

    @contextmanager
    def _heard(self, what: str) -> Iterator[None]:
        """Print a line soon, and in each minute in which nothing else is told: else it would be silent."""
        self.phase(what)
        ended = threading.Event()

        def tell() -> None:
            while not ended.wait(LOOK_EVERY_S):
                if self._pace.is_due():
                    self._pace.note()
                    console.say(f"{self._what}: under way for {in_minutes(self._pace.elapsed_s)}")

        teller = threading.Thread(target=tell, name="progress", daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Leave the terminal to processes that show what they do themselves."""
        bars = self._bars
        if bars is not None:
            bars.stop()
        try:
            yield
        finally:
            if bars is not None:
                bars.start()

    def phase(self, what: str) -> None:
        """Show that another step is under way."""
        self._what, self._pace = what, _Pace(0, FIRST_LINE_S)
        if self._bars is not None:
            self._bars.reset(self._phase, description=what)

    def track(self, items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
        """Yield items while it is shown how many are done; a `pool.Track`."""
        pace = _Pace(0)
        with self._row() as show:
            show(what, 0, total)
            for done, item in enumerate(items, start=1):
                yield item
                show(what, done, total)
                if pace.is_due() and done < total:
                    pace.note()
                    self._tell(f"{what}: {done} of {total}{pace.left(done, total)}")

    @contextmanager
    def training(self) -> Iterator[Callable[[int, TrainingProgress], None]]:
        """Give what the training tells its progress to: a bar, and a line at each examination and each minute."""
        paces: dict[str, _Pace] = {}

        def tell(fold: int, now: TrainingProgress) -> None:
            turn, of = now.turn
            training = f"fold {fold} ({turn} of {of})" if of > 1 else f"fold {fold}"
            training += ", second stage" if now.stage else ""
            is_first = training not in paces
            pace = paces.setdefault(training, _Pace(now.iteration))
            known = [value for value in now.dice.values() if value == value]
            dice = f", validation Dice {sum(known) / len(known):.3f}" if known else ""
            show(f"Training {training}: loss {now.loss:.3f}{dice}", now.iteration, now.iterations, is_first)
            if pace.is_due() or now.is_examined or is_first:
                pace.note()
                count, left = f"iteration {now.iteration} of {now.iterations}", pace.left(now.iteration, now.iterations)
                self._tell(f"{training}: {count}, loss {now.loss:.3f}{dice}{left}")

        with self._row() as show:
            yield tell

    def _tell(self, line: str) -> None:
        """Write a line to RUN/log.txt, and print it where no bar shows the same."""
        self._pace.note()
        logger.info("%s", line)
        if not console.is_live():
            console.say(line)

    @contextmanager
    def _row(self) -> Iterator[_Show]:
        """Give what shows a row of its own, in place of the row of the phase; outside a terminal it does nothing."""
        bars = self._bars
        if bars is None:
            yield lambda what, done, total, is_first=False: None
            return
        row = bars.add_task("", visible=False)

        def show(what: str, done: int, total: int, is_first: bool = False) -> None:
            if is_first:
                bars.reset(row)  # the time begins anew
            bars.update(self._phase, visible=False)  # not before: the first iteration may be a while off
            bars.update(row, description=what, completed=done, total=total, visible=True, refresh=is_first)

        try:
            yield show
        finally:
            bars.remove_task(row)
            bars.update(self._phase, visible=True)


class _Pace:
    """How fast something goes, and when it was last told."""

    def __init__(self, done: int, first_s: float = LINE_EVERY_S) -> None:
        """Begin with so much done before; it is told after `first_s`, then each minute."""
        self._before, self._wait_s = done, first_s
        self._began = self._told = time.monotonic()

    def is_due(self) -> bool:
        """Return whether it is time to tell it."""
        return time.monotonic() - self._told >= self._wait_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def note(self) -> None:
        """Remember that it is told now."""
        self._told, self._wait_s = time.monotonic(), LINE_EVERY_S

    def left(self, done: int, total: int) -> str:
        """Return the time that is left as the end of a sentence; nothing where it is not known yet."""
        if done <= self._before or done >= total:
            return ""
        per_item_s = (time.monotonic() - self._began) / (done - self._before)
        return f", {in_minutes((total - done) * per_item_s)} left"


display = Display()
