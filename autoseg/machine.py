"""This machine: cores, memory, load, environment; no other module reads environment variables."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30  # bytes
MIB = 2**20
CGROUPS = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - nothing is written there by name
OWN_CGROUPS = Path("/proc/self/cgroup")
WORKER_GIB = 0.4  # what an augmentation process takes: Python and PyTorch
WORKER_BATCHES = 8  # that one has room for: those on their way, and what comes up while one is made
CPU_WORKERS, GPU_WORKERS = 8, 32  # at most, by default
FULL = 0.9  # of the processors' time: then who wants more of it gets in others' way
_limits: list[float] = []  # of `memory_limited_to`, in bytes


def has_screen() -> bool:
    """Return whether a browser has a screen to open on; on Linux, over ssh and in containers there is none."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def usable_cores() -> int:
    """Return the cores this process may use: its affinity, limited by its cgroups and by Slurm; at least 1."""
    cores = float(len(_processors()))
    for group in _cgroups("cpu"):
        quota, period = [*_read_words(group / "cpu.max"), "max", ""][:2]
        if quota == "max":  # version 1
            quota, period = _first_word(group / "cpu.cfs_quota_us"), _first_word(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # -1: no quota
            cores = min(cores, int(quota) / int(period))
    return max(1, min(int(cores), _slurm("SLURM_CPUS_PER_TASK") or _slurm("SLURM_CPUS_ON_NODE") or int(cores)))


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


def default_workers(processes: int | None = None, device: str = "cpu", batch_bytes: int = 0) -> int:
    """Return how many augmentation processes to use: the cores but one, as far as half of the memory goes; at least 1.

    On a CPU, whose cores the training itself needs, no more than 8; on a GPU, which must not wait, up to 32.

    Args:
        processes: That train together on this machine and share its cores and its memory; None: as torchrun says.
        device: That trains.
        batch_bytes: Of one batch; a worker has several at a time.
    """
    beside = processes or process_place().local_size
    worker_gib = WORKER_GIB + WORKER_BATCHES * batch_bytes / GIB
    most = CPU_WORKERS if device == "cpu" else GPU_WORKERS
    return max(1, min(most, usable_cores() // beside - 1, int(0.5 * free_memory_gib() / beside / worker_gib)))


@contextmanager
def memory_limited_to(limit: float) -> Iterator[None]:
    """Count no more than so many bytes as this process's, as whoever has started it kills it for more."""
    _limits.append(limit)
    try:
        yield
    finally:
        _limits.pop()


def free_memory_gib() -> float:
    """Return the memory that the machine, each cgroup above this process, and Slurm leave free, in GiB."""
    import psutil

    free = float(psutil.virtual_memory().available)
    for group in _cgroups("memory"):
        free = min(free, _free_in(group))
    if allowed := _slurm_memory_mib():  # where Slurm counts by itself, without cgroups
        free = min(free, allowed * MIB - _own_memory())
    if math.isfinite(limit := min(_limits, default=math.inf)):
        free = min(free, limit - _own_memory())
    return max(free, 0.0) / GIB


def free_shared_memory_gib() -> float:
    """Return the memory that processes can share anew, in GiB: half of what is free, on Linux what /dev/shm has."""
    free = 0.5 * free_memory_gib()
    return min(free, shutil.disk_usage(SHARED_MEMORY).free / GIB) if SHARED_MEMORY.is_dir() else free


def _cgroups(controller: str) -> Iterator[Path]:
    """Yield the folders of the cgroups that hold this process, from its own up to the root: each may limit.

    Version 2 has one tree for all controllers, version 1 one for each (or for several: "cpu,cpuacct"). In a container
    the names may be those outside it: what is not there limits nothing, the root is the container's own.

    Source: cgroups(7).
    """
    yield CGROUPS
    for line in _read_lines(OWN_CGROUPS):
        _, _, names_and_path = line.partition(":")
        names, _, path = names_and_path.partition(":")
        if names and controller not in names.split(","):
            continue
        trees = {CGROUPS / names, CGROUPS / controller} if names else {CGROUPS, CGROUPS / "unified"}
        own = Path(*(part for part in path.split("/") if part not in ("", "..")))
        yield from (tree / group for tree in trees for group in (own, *own.parents))


def _free_in(group: Path) -> float:
    """Return the bytes that a cgroup of either version leaves free; infinity where it has no limit."""
    limits = ("memory.max", "memory.high", "memory.limit_in_bytes")
    limit = min(
        (float(word) for word in map(_first_word, (group / name for name in limits)) if word.isdigit()), default=0.0
    )
    used = _first_word(group / "memory.current") or _first_word(group / "memory.usage_in_bytes")
    if not limit or not used.isdigit():
        return float("inf")
    words = _read_words(group / "memory.stat")
    pages = dict(zip(words[::2], words[1::2], strict=False))
    prefix = "total_" if "total_inactive_file" in pages else ""  # version 1: with the groups below
    cached = sum(
        float(pages.get(f"{prefix}{name}", 0)) for name in ("inactive_file", "active_file")
    )  # freed when needed
    return limit - float(used) + cached


def _slurm_memory_mib() -> int:
    """Return what Slurm gives the job on this node; 0 where there is no job, or no limit."""
    per_core = _slurm("SLURM_MEM_PER_CPU") * _slurm("SLURM_CPUS_ON_NODE")
    return _slurm("SLURM_MEM_PER_NODE") or per_core


def _slurm(variable: str) -> int:
    word = os.environ.get(variable, "")
    return int(word) if word.isdigit() and "SLURM_JOB_ID" in os.environ else 0


def _own_memory() -> float:
    """Return the bytes that this process and those it has started hold."""
    import psutil

    own, held = psutil.Process(), 0.0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            held += process.memory_info().rss
    return held


def peak_memory_gib() -> float:
    """Return the most memory that this process had resident so far, in GiB."""
    words = _read_words(Path("/proc/self/status"))
    if "VmHWM:" in words:  # of this program alone; the other figure may hold that of its parent
        return int(words[words.index("VmHWM:") + 1]) / 2**20
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / GIB
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**30 if sys.platform == "darwin" else most / 2**20


def machine_in_words() -> str:
    """Return the processor, its usable cores, the memory and the system, as a paper names them."""
    import platform

    import psutil

    lines = _read_lines(Path("/proc/cpuinfo"))
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    processor = next(models, "") or platform.processor() or platform.machine()
    memory = psutil.virtual_memory().total / GIB
    return f"{processor}, {usable_cores()} cores, {memory:.0f} GiB; {platform.platform(terse=True)}"


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
    return " ".join(_read_lines(file)).split()


def _first_word(file: Path) -> str:
    return next(iter(_read_words(file)), "")


def _read_lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
