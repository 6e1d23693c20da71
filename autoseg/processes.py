"""Processes: by what name one is known in a file that it writes, and whether it still lives."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import suppress
from functools import cache

HOST_DIGITS = 6  # of the digest that stands for a host in file names


@cache
def host_digest() -> str:
    """Return what stands for this host in file names: of two containers with one name, each has its own."""
    try:
        processes = os.readlink("/proc/self/ns/pid")  # whom a process's number belongs to
    except OSError:
        processes = ""
    return hashlib.sha256(f"{socket.gethostname()} {processes}".encode()).hexdigest()[:HOST_DIGITS]


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
