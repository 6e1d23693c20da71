"""Work on many cases at once: local processes; one failing case never stops the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from threadpoolctl import threadpool_limits

from autoseg.errors import AutosegError

Item = TypeVar("Item")
WORKER_GIB = 0.5  # what an augmentation process takes: Python, PyTorch, a few crops
FULL = 0.9  # of the processors' time: then who wants more of it gets in others' way
Result = TypeVar("Result")


class Track(Protocol):
    """Shows progress over an iterable; the command line gives a bar, everything else nothing."""

    def __call__(self, items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """Yield `items` while telling that `what` of `total` is under way."""


def untracked(items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
    """Yield `items`; show nothing."""
    return items


def usable_cores() -> int:
    """Return the cores this process may use: its affinity, limited by the cgroup's quota; at least 1."""
    cores = len(_processors())
    quota = _read_words(Path("/sys/fs/cgroup/cpu.max"))
    if len(quota) == 2 and quota[0] != "max":
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return max(1, cores)


@dataclass(frozen=True)
class Place:
    """Which of the processes that train together this one is."""

    rank: int = 0  # 0 writes the files and talks to the user
    size: int = 1
    local_rank: int = 0  # on this machine: the number of its GPU
    local_size: int = 1  # processes on this machine


def place_in_team() -> Place:
    """Return what torchrun has put into the environment (Slurm's users set the same); alone where it has not."""
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    return Place(*(int(os.environ.get(name) or alone) for name, alone in names.items()))


def failure_file() -> Path | None:
    """Return where torchrun, if it has started this process, looks for why it failed."""
    told = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(told) if told else None


def set_unless_told(variable: str, value: str) -> None:
    """Set an environment variable, for libraries and child processes, where the user has not."""
    os.environ.setdefault(variable, value)


def default_workers(processes: int | None = None) -> int:
    """Return how many augmentation processes to use: the cores but one, as far as half of the memory goes; 1 to 8.

    Args:
        processes: That train together on this machine and share its cores and its memory; None: as torchrun says.
    """
    beside = processes or place_in_team().local_size
    return max(1, min(8, usable_cores() // beside - 1, int(0.5 * free_memory_gib() / beside / WORKER_GIB)))


def free_memory_gib() -> float:
    """Return the memory that machine and cgroup leave free, in GiB."""
    import psutil

    free = float(psutil.virtual_memory().available)
    limit = _read_words(Path("/sys/fs/cgroup/memory.max"))
    used = _read_words(Path("/sys/fs/cgroup/memory.current"))
    if limit and used and limit[0] != "max":
        words = _read_words(Path("/sys/fs/cgroup/memory.stat"))
        pages = dict(zip(words[::2], words[1::2], strict=False))
        cached = sum(float(pages.get(name, 0)) for name in ("inactive_file", "active_file"))  # freed when needed
        free = min(free, float(limit[0]) - float(used[0]) + cached)
    return max(free, 0.0) / 2**30


def peak_memory_gib() -> float:
    """Return the most memory that this process had resident so far, in GiB."""
    words = _read_words(Path("/proc/self/status"))
    if "VmHWM:" in words:  # of this program alone; the other figure may hold that of its parent
        return int(words[words.index("VmHWM:") + 1]) / 2**20
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**30 if sys.platform == "darwin" else most / 2**20


@dataclass(frozen=True, kw_only=True)
class ProcessorTime:
    """What the processors of this machine have done so far, in seconds."""

    clock: float
    all_programs: float  # on the processors that this one may use
    this_one: float  # with the processes it has started

    @classmethod
    def now(cls) -> ProcessorTime:
        """Read it."""
        import psutil

        names, own = ("user", "nice", "system", "irq", "softirq", "steal"), psutil.Process()
        every = psutil.cpu_times(percpu=True)
        busy = sum(getattr(every[n], name, 0.0) for n in _processors() if n < len(every) for name in names)
        used = 0.0
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                times = process.cpu_times()
                used += times.user + times.system
        return cls(clock=time.monotonic(), all_programs=busy, this_one=used)

    def taken_by_others(self) -> float:
        """Return which share of the processors other programs had since; 0 where some were idle, as nobody waited."""
        now = ProcessorTime.now()
        there = len(_processors()) * (now.clock - self.clock)
        busy = now.all_programs - self.all_programs
        if busy < FULL * there:
            return 0.0
        return max(0.0, busy - (now.this_one - self.this_one)) / there


def each(
    function: Callable[[Item], Result], items: Mapping[str, Item], jobs: int
) -> Iterator[tuple[str, Result | AutosegError]]:
    """Call `function` on every item, in `jobs` processes; yield (name, result or error) as they finish.

    A worker that is killed takes down its pool: the items it left are then done one at a time, each in a process of
    its own, so that only the one that kills its worker is lost.

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
                yield name, AutosegError("there is too little memory for it")
        return
    left = dict(items)
    try:
        for name, result in _pooled(function, left, jobs):
            del left[name]
            yield name, result
    except BrokenProcessPool:
        for name, item in left.items():
            try:
                yield from _pooled(function, {name: item}, 1)
            except BrokenProcessPool:
                yield name, AutosegError("its worker process was killed, most likely for lack of memory; use -j 1")


def _pooled(
    function: Callable[[Item], Result], items: Mapping[str, Item], jobs: int
) -> Iterator[tuple[str, Result | AutosegError]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(items)), mp_context=context, initializer=_start_worker) as pool:
        names = {pool.submit(function, item): name for name, item in items.items()}
        try:
            for future in as_completed(names):
                try:
                    yield names[future], future.result()
                except AutosegError as error:
                    yield names[future], error
                except MemoryError:
                    yield names[future], AutosegError("there is too little memory for it; use -j 1")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    """Keep a worker's linear algebra on one thread, as several share the cores; leave Ctrl-C to the parent."""
    import numpy  # noqa: F401 - only libraries that are loaded can be limited

    threadpool_limits(limits=1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


def _processors() -> Collection[int]:
    """Return the numbers of the processors that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _read_words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
