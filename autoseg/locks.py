"""Locks: one writer at a time; who comes second is told who holds the lock, and the dead hold none.

A lock is a file that names its holder. The system holds it (`flock`, on Windows `msvcrt.locking`), and lets go of it
when the holder dies, however it dies. On a file system without that, a holder of this host counts as long as its
process lives, one of another host until its file is removed.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from autoseg.errors import LockedError
from autoseg.processes import host_digest, is_alive, is_ancestor

NAME = "lock"  # of a folder's lock, in it
POLL_S = 0.05
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # of a file system that has none
LOCKED_BYTE = 1 << 30  # that Windows locks: beyond the text, which others must be able to read
_of_thread = threading.local()  # .files: the locks that this thread holds


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lock."""

    what: str  # as in "autoseg train"
    process: int
    host: str
    host_digest: str
    since: str  # local time

    def is_living(self) -> bool:
        """Return whether it lives, as far as can be seen from this host."""
        return self.host_digest != host_digest() or is_alive(self.process)

    def has_started_this(self) -> bool:
        """Return whether it is this process, or one that has started it, perhaps by way of others."""
        return self.host_digest == host_digest() and (self.process == os.getpid() or is_ancestor(self.process))


@contextmanager
def lock(folder: Path, what: str, wait_s: float = 0.0, name: str = NAME) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is missing, and removed again if it stays empty.

    A thread may take a lock that it holds already, and a process one that its parent holds while it waits for it.

    Args:
        folder: That is written to.
        what: Is done meanwhile, as in "autoseg train".
        wait_s: How long to wait for another holder (s).
        name: Of the lock's file, where only a part of the folder is written to.

    Raises:
        LockedError: If another process, or another thread, holds it for longer; the text says who, and since when.
        OSError: If the folder cannot be written to.
    """
    file = folder.resolve() / name
    held: set[Path] = _of_thread.__dict__.setdefault("files", set())
    if file in held:
        yield
        return
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = _take_within(folder, file, what, wait_s)
        held.add(file)
        try:
            yield
        finally:
            held.discard(file)
            if descriptor is not None:
                _let_go(descriptor, file)
    finally:
        with suppress(OSError):  # it is not empty
            for path in missing:
                path.rmdir()


def is_held(folder: Path, name: str = NAME) -> bool:
    """Return whether this thread holds the lock of a folder."""
    return folder.resolve() / name in _of_thread.__dict__.get("files", ())


def _take_within(folder: Path, file: Path, what: str, wait_s: float) -> int | None:
    """Return the descriptor of a lock's file that is ours now, None where a parent holds it for us.

    Raises:
        LockedError: If another one holds it after `wait_s` still.
    """
    until = time.monotonic() + wait_s
    while (descriptor := _take(file, what)) is None:
        holder = _holder(file)
        if holder is not None and holder.process != os.getpid() and holder.has_started_this():
            return None
        if time.monotonic() >= until:
            raise LockedError(_refusal(folder, file, holder))
        time.sleep(POLL_S)
    return descriptor


def _take(file: Path, what: str) -> int | None:
    """Return the descriptor of a lock's file that is ours now, None where another one holds it."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            is_free = _is_free(descriptor, file)
            if is_free and _is_open(descriptor, file):
                _write_holder(descriptor, what)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not is_free:
            return None


def _let_go(descriptor: int, file: Path) -> None:
    """Remove a lock's file before it is let go, so that nobody else can have taken it.

    Windows removes no file that is open. There it is emptied first: who reads it meanwhile finds that it names nobody.
    """
    if sys.platform == "win32":
        os.ftruncate(descriptor, 0)
        os.close(descriptor)
        with suppress(PermissionError):  # another process has it open, to take it
            file.unlink(missing_ok=True)
    else:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _is_open(descriptor: int, file: Path) -> bool:
    """Return whether a descriptor is that of the file of a name, which its last holder may have removed."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), file.stat())
    return False


def _is_free(descriptor: int, file: Path) -> bool:
    """Lock a file for the system, where it can be; return whether no living process holds it."""
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    else:
        return True
    holder = _holder(file)
    return holder is None or not holder.is_living()


def _lock(descriptor: int) -> None:
    """Have the system hold an open file for this process.

    Raises:
        BlockingIOError: If another one holds it (PermissionError on Windows).
        OSError: If the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_holder(descriptor: int, what: str) -> None:
    holder = Holder(
        what=what,
        process=os.getpid(),
        host=socket.gethostname(),
        host_digest=host_digest(),
        since=time.strftime("%Y-%m-%d %H:%M:%S"),
    )
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(asdict(holder), indent=1).encode())


def _holder(file: Path) -> Holder | None:
    """Return whom a lock's file names, None where it names nobody, or not yet."""
    try:
        return Holder(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _refusal(folder: Path, file: Path, holder: Holder | None) -> str:
    if holder is None:
        return f"{folder}: another process writes to it ({file.name}); wait for it, then run the same command again"
    text = (
        f"{folder}: `{holder.what}` writes to it (process {holder.process} on {holder.host}, since {holder.since}); "
        "wait for it or end it, then run the same command again"
    )
    elsewhere = holder.host_digest != host_digest()
    return f"{text}; if that process is no more, remove {file}" if elsewhere else text
