"""Work on many cases at once: local processes; one failing case never stops the others."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar

from threadpoolctl import threadpool_limits

from autoseg import processes
from autoseg.errors import AutosegError
from autoseg.processes import Vigil, WorkerLostError, end_with_parent, start_tracker

Item = TypeVar("Item")
Result = TypeVar("Result")
LITTLE_MEMORY = "there is too little memory for it"
KILLED = "its worker process was killed, most likely for lack of memory; use -j 1"
END_S = 3.0  # how long a process may take to end when asked


class Track(Protocol):
    """Shows progress over an iterable; the command line gives a bar, everything else nothing."""

    def __call__(self, items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """Yield `items` while telling that `what` of `total` is under way."""


def untracked(items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
    """Yield `items`; show nothing."""
    return items


def each(
    function: Callable[[Item], Result], items: Mapping[str, Item], jobs: int
) -> Iterator[tuple[str, Result | AutosegError]]:
    """Call `function` on every item, in `jobs` processes; yield (name, result or error) as they finish.

    A process that is killed, or does nothing any more, is replaced, and the others go on. Its item is tried again when
    all others are done, alone, as it may have been the sum of all that was too much for the memory.

    Args:
        function: Importable by name, as its processes are spawned.
        items: Name to argument.
        jobs: Number of processes; 1 works in this process.
    """
    if jobs <= 1 or len(items) <= 1:
        for name, item in items.items():
            try:
                yield name, function(item)
            except AutosegError as error:
                yield name, error
            except MemoryError:
                yield name, AutosegError(LITTLE_MEMORY)
        return
    lost = []
    for name, result in _in_processes(function, items, jobs):
        if isinstance(result, WorkerLostError):
            lost.append(name)
        else:
            yield name, result
    for name in lost:
        yield from _in_processes(function, {name: items[name]}, 1)


def in_own_process(function: Callable[[Item], Result], item: Item) -> Result:
    """Call `function` in a process of its own, which may start others; raise what it raises.

    Raises:
        WorkerLostError: If the process is killed or hangs.
    """
    for _, result in _in_processes(function, {"": item}, 1, is_worker=False):
        if isinstance(result, AutosegError):
            raise result
        return result
    raise WorkerLostError(KILLED)


def _in_processes(
    function: Callable[[Item], Result], items: Mapping[str, Item], jobs: int, is_worker: bool = True
) -> Iterator[tuple[str, Result | AutosegError]]:
    due: queue.SimpleQueue[tuple[str, Item]] = queue.SimpleQueue()
    for named in items.items():
        due.put(named)
    done: queue.SimpleQueue[tuple[str, _Outcome[Result]]] = queue.SimpleQueue()
    hands = [_Hand(function, due, done, is_worker) for _ in range(min(jobs, len(items)))]
    vigil = Vigil()
    try:
        for _ in items:
            while True:
                try:
                    name, outcome = done.get(timeout=processes.EXAMINE_S)
                    break
                except queue.Empty:
                    hanging = vigil.hanging([pid for hand in hands if (pid := hand.working_pid) is not None])
                    for hand in hands:
                        hand.end_if_among(hanging)
            if outcome.bug is not None:
                raise outcome.bug
            yield name, outcome.value
    finally:
        _end(hands)


@dataclass(frozen=True)
class _Outcome(Generic[Result]):
    """What came of an item."""

    value: Any  # Result | AutosegError
    bug: Exception | None = None  # no user's mistake: ends all


class _Hand(Generic[Item, Result]):
    """A thread with a process that works for it; a new one where that is lost."""

    def __init__(
        self,
        function: Callable[[Item], Result],
        due: queue.SimpleQueue[tuple[str, Item]],
        done: queue.SimpleQueue[tuple[str, _Outcome[Result]]],
        is_worker: bool,
    ) -> None:
        self.function, self.due, self.done, self.is_worker = function, due, done, is_worker
        self.is_ended = False
        self.working_pid: int | None = None  # of the process, while it has an item
        self._lost = KILLED
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def end_if_among(self, hanging: list[int]) -> None:
        """Kill the process if it is one that hangs."""
        process = self._process
        if process is not None and self.working_pid in hanging:
            self._lost = (
                f"its worker process did nothing for {processes.HANGS_S:.0f} s (it was stopped, or waits for a disk "
                "that does not answer); see to that, then run the same command again"
            )
            process.kill()

    def end(self) -> None:
        """Begin nothing more; ask the process to end."""
        self.is_ended = True
        process = self._process
        if process is not None and self.working_pid is not None:
            process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    def _work(self) -> None:
        while not self.is_ended:
            try:
                name, item = self.due.get_nowait()
            except queue.Empty:
                break
            self.done.put((name, self._outcome(item)))
        if self._pipe is not None:
            self._pipe.close()  # the process reads that nothing comes any more
        if self._process is not None:
            self._process.join()

    def _outcome(self, item: Item) -> _Outcome[Result]:
        try:
            process, pipe = self._running()
            self.working_pid = process.pid
            pipe.send(item)
            outcome: _Outcome[Result] = pipe.recv()
        except (EOFError, OSError):
            outcome = _Outcome(WorkerLostError(self._lost))
            self._drop()
        except Exception as error:  # noqa: BLE001 - what cannot be sent; told to the one who waits
            outcome = _Outcome(None, error)
        self.working_pid = None
        return outcome

    def _running(self) -> tuple[BaseProcess, Connection]:
        """Return the process and the pipe to it; start it where there is none."""
        if self._process is None or self._pipe is None:
            self._process, self._pipe = self._started()
            if self.is_ended:  # meanwhile
                self._process.terminate()
        return self._process, self._pipe

    def _started(self) -> tuple[BaseProcess, Connection]:
        """Start a process; return it and the pipe to it.

        Raises:
            OSError: If the system has no room for one; the reason is noted.
        """
        start_tracker()
        context = multiprocessing.get_context("spawn")
        pipe, other = context.Pipe()
        try:
            process = context.Process(target=_serve, args=(self.function, other, self.is_worker), daemon=self.is_worker)
            process.start()
        except OSError as error:
            self._lost = f"no worker process could be started for it ({error.strerror or error}); use -j 1"
            pipe.close()
            raise
        finally:
            other.close()
        return process, pipe

    def _drop(self) -> None:
        process, pipe = self._process, self._pipe
        self._process, self._pipe, self._lost = None, None, KILLED
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            process.join(END_S)  # one that waits for a disk cannot even be killed


def _end(hands: list[_Hand[Any, Any]]) -> None:
    """End all processes: those that have work are asked, so that they remove what is half written, then killed."""
    for hand in hands:
        hand.end()
    for hand in hands:
        hand.thread.join(END_S)
    for hand in hands:
        if hand.thread.is_alive():
            hand.kill()
            hand.thread.join(END_S)


def _serve(function: Callable[[Any], Any], pipe: Connection, is_worker: bool) -> None:
    """Be the process: take items and give what comes of each, until the other end is closed."""
    end_with_parent()  # its thread waits for this process
    _prepare(is_worker)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            item = pipe.recv()
            pipe.send(_called(function, item))


def _called(function: Callable[[Any], Any], item: Any) -> _Outcome[Any]:
    try:
        return _Outcome(function(item))
    except AutosegError as error:
        return _Outcome(error)
    except MemoryError:
        return _Outcome(AutosegError(f"{LITTLE_MEMORY}; use -j 1"))
    except Exception as error:  # noqa: BLE001 - a bug is raised in the parent
        error.add_note(traceback.format_exc())
        return _Outcome(None, error)


def _prepare(is_worker: bool) -> None:
    """Leave Ctrl-C to the parent; of several that share the cores, keep each one's linear algebra on one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    if is_worker:
        import numpy  # noqa: F401 - only libraries that are loaded can be limited

        threadpool_limits(limits=1)


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)  # past what catches exceptions, through what cleans up
