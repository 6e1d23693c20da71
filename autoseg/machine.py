"""This machine: cores, memory, load, environment; no other module reads environment variables."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30  # bytes
WORKER_GIB = 0.5  # what an augmentation process takes: Python, PyTorch, a few crops
FULL = 0.9  # of the processors' time: then who wants more of it gets in others' way


def usable_cores() -> int:
    """Return the cores this process may use: its affinity, limited by the cgroup's quota; at least 1."""
    cores = len(_processors())
    quota = _read_words(Path("/sys/fs/cgroup/cpu.max"))
    if len(quota) == 2 and quota[0] != "max":
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return max(1, cores)


@dataclass(frozen=True)
class ProcessPlace:
    """Which of the processes that train together this one is."""

    rank: int = 0  # 0 writes the files and talks to the user
    size: int = 1
    local_rank: int = 0  # on this machine: the number of its GPU
    local_size: int = 1  # processes on this machine


def process_place() -> ProcessPlace:
    """Return what torchrun has put into the environment (Slurm's users set the same); alone where it has not."""
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    return ProcessPlace(*(int(os.environ.get(name) or alone) for name, alone in names.items()))


def failure_file() -> Path | None:
    """Return where torchrun, if it has started this process, looks for why it failed."""
    name = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(name) if name else None


def set_default_variable(variable: str, value: str) -> None:
    """Set an environment variable, for libraries and child processes, where the user has not."""
    os.environ.setdefault(variable, value)


def default_workers(processes: int | None = None) -> int:
    """Return how many augmentation processes to use: the cores but one, as far as half of the memory goes; 1 to 8.

    Args:
        processes: That train together on this machine and share its cores and its memory; None: as torchrun says.
    """
    beside = processes or process_place().local_size
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
    """Seconds that the processors of this machine have worked so far."""

    clock: float
    all_programs: float  # on the processors that this one may use
    this_one: float  # with the processes it has started

    @classmethod
    def now(cls) -> ProcessorTime:
        """Return the times as they are now."""
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
        """Return the share of the processors that other programs had since; 0 where some were idle: nobody waited."""
        now = ProcessorTime.now()
        available = len(_processors()) * (now.clock - self.clock)
        busy = now.all_programs - self.all_programs
        if busy < FULL * available:
            return 0.0
        return max(0.0, busy - (now.this_one - self.this_one)) / available


def _processors() -> Collection[int]:
    """Return the numbers of the processors that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _read_words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
