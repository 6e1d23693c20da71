"""Processes of this machine that work, each for a thread that waits for it; one that is lost is replaced."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from threadpoolctl import threadpool_limits

from autoseg import processes
from autoseg.errors import AutosegError
from autoseg.processes import Vigil, WorkerLostError, end_with_parent, start_tracker

KILLED = "its worker process was killed, most likely for lack of memory; use -j 1"
CANNOT_START = (
    "a worker process ends before it can work (what it printed is above); a script that uses autoseg does so below `if "
    '__name__ == "__main__":`, as each worker imports it'
)
READY = "ready"  # the first thing that a process sends
END_S = 3.0  # how long processes may take to end when asked


@dataclass(frozen=True)
class _Task:
    """A call that waits for a process, and what is to hear of it."""

    future: Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class LocalProcesses(Executor):
    """An executor whose processes are spawned when there is work for them; who loses its process costs no other.

    The future of a call whose process was killed, or does nothing any more, has a `WorkerLostError`.
    """

    def __init__(self, size: int, is_worker: bool = True) -> None:
        """Start nothing yet.

        Args:
            size: The most processes.
            is_worker: Whether each keeps to one thread and starts no processes, as it shares the cores with others.
        """
        self._due: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        have_worked = threading.Event()  # one of the processes has begun to take calls
        self._hands = [_Hand(self._due, is_worker, have_worked) for _ in range(size)]
        self._vigil = Vigil()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Have a function called that is importable by name; its arguments and its result are pickled."""
        if named:
            raise TypeError("arguments by name are not sent to processes")
        future: Future[Any] = Future()
        self._due.put(_Task(future, function, arguments))
        return future

    def examine(self) -> None:
        """Kill processes that hang; to be called every EXAMINE_S while one waits for them."""
        hanging = self._vigil.hanging([pid for hand in self._hands if (pid := hand.working_pid) is not None])
        for hand in self._hands:
            hand.end_if_among(hanging)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """End all processes: those that have work are asked, so that they remove what is half written, then killed."""
        for hand in self._hands:
            hand.end()
            self._due.put(None)
        _join(self._hands)
        slow = [hand for hand in self._hands if hand.thread.is_alive()]
        for hand in slow:
            hand.kill()
        _join(slow)


def _join(hands: Sequence[_Hand]) -> None:
    """Wait END_S, for all of them together, until their threads end."""
    until = time.monotonic() + END_S
    for hand in hands:
        hand.thread.join(max(0.0, until - time.monotonic()))


class _Hand:
    """A thread with a process that works for it; a new one where that is lost."""

    def __init__(self, due: queue.SimpleQueue[_Task | None], is_worker: bool, have_worked: threading.Event) -> None:
        self.due, self.is_worker, self.have_worked = due, is_worker, have_worked
        self.is_ended = False
        self.working_pid: int | None = None  # of the process, while it has a task
        self._is_ready = False  # the process has begun to take calls
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
        while (task := self.due.get()) is not None and not self.is_ended:
            if task.future.set_running_or_notify_cancel():
                self._do(task)
        if self._pipe is not None:
            self._pipe.close()  # the process reads that nothing comes any more
        if self._process is not None:
            self._process.join()

    def _do(self, task: _Task) -> None:
        try:
            process, pipe = self._running()
            self.working_pid = process.pid
            pipe.send((task.function, task.arguments))
            if not self._is_ready:
                self._is_ready = pipe.recv() == READY
                self.have_worked.set()
            result = pipe.recv()
        except (EOFError, OSError):
            task.future.set_exception(self._loss())
        except Exception as error:  # noqa: BLE001 - what cannot be sent; told to the one who waits
            self.working_pid = None
            task.future.set_exception(error)
        else:
            self.working_pid = None
            task.future.set_result(result)

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
        context = multiprocessing.get_context("spawn")
        try:
            start_tracker()
            pipe, other = context.Pipe()
            with other, ExitStack() as unused:
                unused.enter_context(pipe)
                process = context.Process(target=_serve, args=(other, self.is_worker), daemon=self.is_worker)
                process.start()
                unused.pop_all()
        except OSError as error:
            self._lost = f"no worker process could be started for it ({error.strerror or error}); use -j 1"
            raise
        return process, pipe

    def _loss(self) -> AutosegError:
        """Drop the process; return what is to be said of it: that none can start, only where none ever did."""
        process, cause, cannot_start = self._process, self._lost, False
        if process is not None and not self.have_worked.is_set():
            process.join(END_S)
            cannot_start = process.exitcode == 1  # Python's, after an exception
        self._drop()
        return AutosegError(CANNOT_START) if cannot_start else WorkerLostError(cause)

    def _drop(self) -> None:
        process, pipe = self._process, self._pipe
        self._process, self._pipe, self._lost, self.working_pid = None, None, KILLED, None
        self._is_ready = False
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            process.join(END_S)  # one that waits for a disk cannot even be killed


def _serve(pipe: Connection, is_worker: bool) -> None:
    """Be the process: take calls and give what comes of each, until the other end is closed."""
    end_with_parent()  # its thread waits for this process
    _prepare(is_worker)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(READY)
        while True:
            function, arguments = pipe.recv()
            pipe.send(function(*arguments))


def _prepare(is_worker: bool) -> None:
    """Leave Ctrl-C to the parent; of several that share the cores, keep each one's linear algebra on one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    if is_worker:
        import numpy  # noqa: F401 - only libraries that are loaded can be limited

        threadpool_limits(limits=1)


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)  # past what catches exceptions, through what cleans up
