"""Processes: by what name one is known, whether it lives, and that those which are started end with this one."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import resource_tracker
from pathlib import Path

from autoseg.errors import AutosegError

HOST_DIGITS = 6  # of the digest that stands for a host in file names
BOOT = Path("/proc/sys/kernel/random/boot_id")  # random(4)
PARENT_DIES = 1  # PR_SET_PDEATHSIG of prctl(2)
LOOK_S = 1.0  # how often a process without the kernel's help looks for its parent
# by which a user or a system asks to end
ENDING = tuple(
    signal.Signals(n) for n in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
)
HANGS_S = 60.0  # a process that was waited for and did nothing at all for so long hangs
EXAMINE_S = 5.0  # how often that is asked


def is_heard(number: signal.Signals) -> bool:
    """Return whether a signal is not ignored, as nohup and a shell's background jobs have it."""
    return signal.getsignal(number) != signal.SIG_IGN


@cache
def host_digest() -> str:
    """Return what stands for this host in file names: of two containers with one name, each has its own."""
    try:
        processes = os.readlink("/proc/self/ns/pid")  # whom a process's number belongs to
    except OSError:
        processes = ""
    return hashlib.sha256(f"{socket.gethostname()} {processes}".encode()).hexdigest()[:HOST_DIGITS]


@cache
def boot_digest() -> str:
    """Return what tells this host, as long as it runs, from all others, those of the same name among them."""
    try:
        running = BOOT.read_text(encoding="ascii")
    except (OSError, ValueError):
        running = str(uuid.getnode())
    return hashlib.sha256(running.encode()).hexdigest()[:HOST_DIGITS]


def is_alive(pid: int) -> bool:
    """Return whether a process of this host is alive; one that ended and waits for its parent to hear of it is not."""
    import psutil

    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return psutil.pid_exists(pid)


def is_ancestor(pid: int) -> bool:
    """Return whether this process was started by another one, by a process that it has started, and so on."""
    import psutil

    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return any(parent.pid == pid for parent in psutil.Process().parents())
    return False


class WorkerLostError(AutosegError):
    """A process that was started for a piece of work has ended or hangs; the text says which."""


def end_with_parent(by_kernel: bool = True) -> None:
    """Have this process killed when the one that has started it ends, however that ends.

    Args:
        by_kernel: Let the kernel do it (Linux), at once and even while this process is stopped. It looks at the thread
            that has started this process: say False where that may end before its process does.
    """
    parent = multiprocessing.parent_process()
    expected = os.getppid() if parent is None else parent.pid
    if by_kernel and sys.platform == "linux" and not ctypes.CDLL(None).prctl(PARENT_DIES, signal.SIGKILL):
        if os.getppid() != expected:  # it has ended before we asked
            os.kill(os.getpid(), signal.SIGKILL)
        return
    threading.Thread(target=_watch_parent, args=(expected,), daemon=True).start()


def _watch_parent(expected: int | None) -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        while os.getppid() == expected:
            time.sleep(LOOK_S)
    else:
        parent.join()  # a pipe that the parent holds open, on every system
    os._exit(1)


def start_tracker() -> None:
    """Start Python's tracker of what processes share, before any of them, so that a terminal which closes spares it.

    It is to end after all others. By itself it ignores Ctrl-C and SIGTERM, but not SIGHUP (Python 3.11 to 3.14); who
    then gives something back would start another one, that knows nothing of it and says so by a traceback.
    """
    if sys.platform == "win32":
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # as what is started inherits it
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def is_started_by_main_thread() -> bool:
    """Return whether what is started now is started by the main thread, which ends with the process alone."""
    return threading.current_thread() is threading.main_thread()


class SharedFlag:
    """Says yes or no to several processes; unlike Python's event it has no lock that a killed one could keep."""

    def __init__(self) -> None:
        """Begin with no."""
        self._byte = multiprocessing.RawValue(ctypes.c_bool, False)

    def set(self) -> None:
        """Say yes from now on."""
        self._byte.value = True

    def clear(self) -> None:
        """Say no from now on."""
        self._byte.value = False

    def is_set(self) -> bool:
        """Return what was said last."""
        return bool(self._byte.value)


class Vigil:
    """Watches processes that are waited for: which of them do nothing at all, neither compute, read nor write.

    Time counts only while this process looks: where all are suspended together, as by Ctrl-Z or a laptop's lid, nobody
    hangs. A process in an endless loop works, as far as anyone can tell.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._seen: dict[int, tuple[tuple[float, ...], int]] = {}  # work done, and how often it was the same

    def hanging(self, pids: Sequence[int]) -> list[int]:
        """Return which of `pids` did nothing for HANGS_S; to be asked every EXAMINE_S."""
        now: dict[int, tuple[tuple[float, ...], int]] = {}
        for pid in pids:
            work, (before, times) = work_of(pid), self._seen.get(pid, ((), 0))
            now[pid] = (work, times + 1 if work == before else 0)
        self._seen = now
        return [pid for pid, (_, times) in now.items() if times * EXAMINE_S >= HANGS_S]


def work_of(pid: int) -> tuple[float, ...]:
    """Return what a process has done so far: seconds of processors, and bytes read and written where that is known."""
    import psutil

    work: list[float] = []
    with suppress(psutil.Error, AttributeError):  # it has just ended; a system that does not count bytes
        process = psutil.Process(pid)
        work += process.cpu_times()[:2]
        work += process.io_counters()
    return tuple(work)
