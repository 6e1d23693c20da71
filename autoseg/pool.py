"""Work on many cases at once: local processes, or a cluster's; one failing case never stops the others."""

from __future__ import annotations

import queue
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, Generic, Protocol, TypeVar

from autoseg import processes
from autoseg.errors import AutosegError
from autoseg.hands import LocalProcesses
from autoseg.processes import WorkerLostError

Item = TypeVar("Item")
Result = TypeVar("Result")
LITTLE_MEMORY = "there is too little memory for it"
TRIES = 2  # of an item beside others; where its worker is lost each time, it has one more, alone
AHEAD = 2  # tasks a worker: one that it does, and one that waits for it
MOST_ITEMS = 64  # of a task


class Track(Protocol):
    """Shows progress over an iterable; the command line gives a bar, everything else nothing."""

    def __call__(self, items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """Yield `items` while telling that `what` of `total` is under way."""


def untracked(items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
    """Yield `items`; show nothing."""
    return items


class Submit(Protocol):
    """Hands a task to a worker."""

    def __call__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Future[Report[Result]]:
        """Have `call_each` called; the future fails by a `WorkerLostError` where the worker is lost."""


@dataclass(frozen=True)
class Backend:
    """Where networks compute: workers that differ in it may give other bits."""

    device: str
    has_fast_bfloat16: bool  # whether bfloat16 pays there

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.device} {'with' if self.has_fast_bfloat16 else 'without'} fast bfloat16"


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who works: an executor's processes, here or on other machines."""

    submit: Submit
    width: Callable[[], int]  # workers, as of now
    examine: Callable[[], None]  # is called every EXAMINE_S while one waits for them; may raise what ends all
    task_s: float = 0.0  # how long a task should take, so that sending it costs little beside; 0: one item each
    backend: Backend | None = None  # of other machines, where they were asked for it


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What came of an item."""

    value: Any  # Result | AutosegError
    bug: Exception | None = None  # no user's mistake: ends all


@dataclass(frozen=True)
class Report(Generic[Result]):
    """What came of the items of a task."""

    outcomes: tuple[Outcome[Result], ...]
    seconds: float
    warnings: tuple[str, ...] = ()  # of a worker whose own nobody reads


def each(
    function: Callable[[Item], Result],
    items: Mapping[str, Item] | Iterable[tuple[str, Item]],
    crew: int | Crew,
) -> Iterator[tuple[str, Result | AutosegError]]:
    """Call `function` on every item; yield (name, result or error) as they finish.

    Items are taken when there is a worker for them, so that only those under way are held. One whose worker is lost is
    tried again when all others have begun; where that happens twice, alone, when all others are done, as it may have
    been the sum of all that was too much for the memory. It is named where it loses that worker, too.

    Args:
        function: Importable by name, as it is called in other processes.
        items: Name to argument, or pairs of them.
        crew: Who works. A number: so many processes of this machine; 1 is this process.
    """
    pairs = iter(items.items() if isinstance(items, Mapping) else items)
    if isinstance(crew, Crew):
        many = _Flow(function, pairs, crew, TRIES)
        yield from many.results()
        yield from _alone(function, many.suspects, crew)
        return
    first = tuple(islice(pairs, 2))
    if crew <= 1 or len(first) < 2:
        yield from _here(function, chain(first, pairs))
        return
    with local_crew(crew) as processes_here:
        many = _Flow(function, chain(first, pairs), processes_here, TRIES)
        yield from many.results()
    if many.suspects:
        with local_crew(1) as one:  # the others have given their memory back
            yield from _alone(function, many.suspects, one)


def in_own_process(function: Callable[[Item], Result], item: Item) -> Result:
    """Call `function` in a process of its own, which may start others; raise what it raises.

    Raises:
        WorkerLostError: If the process is killed or hangs.
    """
    with local_crew(1, is_worker=False) as crew:
        flow = _Flow(function, iter([("", item)]), crew, tries=1)
        for _, result in flow.results():
            if isinstance(result, AutosegError):
                raise result
            return result
    raise flow.lost[""]


@contextmanager
def local_crew(size: int, is_worker: bool = True) -> Iterator[Crew]:
    """Give processes of this machine, which end with the block; arguments as of `LocalProcesses`."""
    with LocalProcesses(size, is_worker) as hands:
        yield Crew(submit=partial(hands.submit, call_each), width=lambda: size, examine=hands.examine)


def call_each(
    function: Callable[[Item], Result], items: Sequence[Item], more_memory: str = "use -j 1"
) -> Report[Result]:
    """Do a task, where the worker is: call `function` on each item; it never raises.

    Args:
        function: To be called.
        items: Its arguments.
        more_memory: The way out where there is too little.
    """
    began = time.perf_counter()
    outcomes = tuple(_called(function, item, more_memory) for item in items)
    return Report(outcomes, time.perf_counter() - began)


def _called(function: Callable[[Any], Any], item: Any, more_memory: str) -> Outcome[Any]:
    try:
        return Outcome(function(item))
    except AutosegError as error:
        return Outcome(error)
    except MemoryError:
        return Outcome(AutosegError(f"{LITTLE_MEMORY}; {more_memory}"))
    except Exception as error:  # noqa: BLE001 - a bug is raised in the parent
        error.add_note(traceback.format_exc())
        return Outcome(None, error)


def _here(
    function: Callable[[Item], Result], pairs: Iterable[tuple[str, Item]]
) -> Iterator[tuple[str, Result | AutosegError]]:
    for name, item in pairs:
        try:
            yield name, function(item)
        except AutosegError as error:
            yield name, error
        except MemoryError:
            yield name, AutosegError(LITTLE_MEMORY)


def _alone(
    function: Callable[[Item], Result], suspects: Sequence[tuple[str, Item]], crew: Crew
) -> Iterator[tuple[str, Result | AutosegError]]:
    """Call `function` on one item after another; yield an error for each that loses its worker once more."""
    for name, item in suspects:
        flow = _Flow(function, iter([(name, item)]), crew, tries=1)
        yield from flow.results()
        yield from flow.lost.items()


class _Flow(Generic[Item, Result]):
    """Items on their way: a window of them is under way, and those whose worker was lost come again."""

    def __init__(
        self, function: Callable[[Item], Result], pairs: Iterator[tuple[str, Item]], crew: Crew, tries: int
    ) -> None:
        self.suspects: list[tuple[str, Item]] = []  # that have lost their worker at every try
        self.lost: dict[str, WorkerLostError] = {}  # name of each that has lost one to the last cause
        self._function, self._due, self._crew, self._tries = function, pairs, crew, tries
        self._again: deque[tuple[str, Item]] = deque()
        self._losses: dict[str, int] = {}
        self._done: queue.SimpleQueue[Future[Report[Result]]] = queue.SimpleQueue()
        self._under_way: dict[Future[Report[Result]], list[tuple[str, Item]]] = {}
        self._items, self._seconds = 0, 0.0  # that are done, and what they took

    def results(self) -> Iterator[tuple[str, Result | AutosegError]]:
        """Yield name, and result or error, of all but the suspects."""
        try:
            while self._fill():
                yield from self._results_of(self._next())
        finally:
            for future in self._under_way:
                future.cancel()

    def _results_of(self, future: Future[Report[Result]]) -> Iterator[tuple[str, Result | AutosegError]]:
        pairs = self._under_way.pop(future)
        try:
            report = future.result()
        except WorkerLostError as error:
            self._note_lost(pairs, error)
            return
        self._items, self._seconds = self._items + len(pairs), self._seconds + report.seconds
        trouble: Exception | None = None
        try:
            self._fill()  # before who asks does something with what is done
        except Exception as error:  # noqa: BLE001 - raised when what is done has been given
            trouble = error
        for (name, _), outcome in zip(pairs, report.outcomes, strict=True):
            if outcome.bug is not None:
                raise outcome.bug
            yield name, outcome.value
        if trouble is not None:
            raise trouble

    def _fill(self) -> bool:
        """Hand out tasks while workers have room for them; return whether any is under way."""
        most = AHEAD * max(1, self._crew.width())
        while len(self._under_way) < most and (pairs := self._next_items()):
            future = self._crew.submit(self._function, [item for _, item in pairs])
            self._under_way[future] = pairs
            future.add_done_callback(self._done.put)
        return bool(self._under_way)

    def _next_items(self) -> list[tuple[str, Item]]:
        """Return the items of the next task: those of `again` come last, each in a task of its own."""
        count, task_s = 1, self._crew.task_s
        if task_s and self._items:
            count = max(1, min(MOST_ITEMS, int(task_s * self._items / max(self._seconds, 1e-9))))
        return list(islice(self._due, count)) or [self._again.popleft() for _ in range(min(1, len(self._again)))]

    def _next(self) -> Future[Report[Result]]:
        while True:
            try:
                return self._done.get(timeout=processes.EXAMINE_S)
            except queue.Empty:
                self._crew.examine()

    def _note_lost(self, pairs: Sequence[tuple[str, Item]], error: WorkerLostError) -> None:
        for name, item in pairs:
            self.lost[name] = error
            self._losses[name] = self._losses.get(name, 0) + 1
            if self._losses[name] < self._tries:
                self._again.append((name, item))
            else:
                self.suspects.append((name, item))
