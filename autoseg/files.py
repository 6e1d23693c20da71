"""Files that appear whole or not at all, one alone or several as one generation."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from autoseg.processes import boot_digest, host_digest, is_alive

LONGEST_BYTES = 220  # of a name: file systems allow 255
LEFT_S = 3600  # no file takes so long from one block of it to the next
OPEN_S, POLL_S = 5.0, 0.1  # how long, and how often, a file is waited for that another program has open
# of a file that was being written; earlier versions named the host alone, or nothing
LEFTOVER = re.compile(r"\.(?P<pid>\d+)(-(?P<host>[0-9a-f]+(-[0-9a-f]+)?))?\.(?P<name>.+)")
_modes: dict[str, int] = {}  # folder to permissions of a new file in it, as they were at this process's first write
_left: dict[str, dict[str, list[str]]] = {}  # folder to name to leftovers, as they were at this process's first write


@contextmanager
def atomic_path(file: Path, suffix: str = "") -> Iterator[Path]:
    """Give a path beside `file` to write to; rename it to `file` when the block ends well, else remove it.

    Args:
        file: What is to appear.
        suffix: How the name of `file` ends if case is ignored; the path beside ends in it as it is given here, as
            writers need that know a format by its suffix in lower case alone.

    Raises:
        OSError: If the folder cannot be made or the disk is full; it names `file`, which is then as it was.
    """
    if not file.parent.is_dir():
        file.parent.mkdir(parents=True, exist_ok=True)
    name = _short(file.name[: len(file.name) - len(suffix)] + suffix)
    for leftover in _left_in(file.parent).pop(name, ()):
        _remove_if_left(file.with_name(leftover))
    beside = file.with_name(f".{os.getpid()}-{_host()}.{name}")
    try:
        mode = _usual_mode(beside)
        yield beside
        if stat.S_IMODE(beside.stat().st_mode) != mode:  # safetensors lets nobody else read a file
            beside.chmod(mode)
        with beside.open("rb+") as stream:
            os.fsync(stream.fileno())  # or a power cut may leave an empty file under the new name
        _replace(beside, file)
    except OSError as error:
        if error.filename not in (None, str(beside)):  # of another file that was read meanwhile
            raise
        code = error.errno or errno.ENOSPC  # numpy gives none, for a write that was cut short
        raise OSError(code, os.strerror(code), str(file)) from error
    finally:
        beside.unlink(missing_ok=True)


def _replace(beside: Path, file: Path) -> None:
    """Rename a file over another one; Windows does not while any program has that one open, so there it is waited for.

    Raises:
        OSError: If the folder cannot be written to, or a program keeps the file open.
    """
    until = time.monotonic() + (OPEN_S if sys.platform == "win32" else 0.0)
    while True:
        try:
            return os.replace(beside, file)
        except PermissionError:
            if time.monotonic() >= until:
                raise
            time.sleep(POLL_S)


def _short(name: str) -> str:
    """Return a name that leaves room for a prefix, for one that is nearly as long as file systems allow."""
    if len(os.fsencode(name)) <= LONGEST_BYTES:
        return name
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16] + name[-16:]  # it ends in the same suffix


def _usual_mode(file: Path) -> int:
    """Return the permissions that the system gives a new file in a folder, by making one, once a folder."""
    place = os.path.abspath(file.parent)
    if place not in _modes:
        with file.open("wb") as stream:
            _modes[place] = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        file.unlink()
    return _modes[place]


def write_text(file: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic_path(file) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def write_generation(texts: Mapping[Path, str]) -> None:
    """Write text files that belong together, UTF-8.

    All are on the disk before any is replaced, and the last one is removed before the others change: a kill at any
    moment leaves all as they were, or a folder that lacks the last one.

    Raises:
        OSError: If the disk is full; all files are then as they were.
    """
    *_, last = texts
    with ExitStack() as renamed_in_order:
        for file, text in reversed(list(texts.items())):  # what is entered first is left last
            beside = renamed_in_order.enter_context(atomic_path(file))
            with beside.open("w", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
        last.unlink(missing_ok=True)


@contextmanager
def replacing(files: Iterable[Path]) -> Iterator[None]:
    """Remove at the end those of some files that were not written anew meanwhile; after an error all stay."""
    before = {file: _written(file) for file in files}
    yield
    for file, written in before.items():
        if written is not None and _written(file) == written:
            file.unlink()


def _written(file: Path) -> tuple[int, int] | None:
    """Return what changes when a file is written anew; None of what is no file."""
    if not file.is_file():
        return None
    found = file.stat()
    return found.st_ino, found.st_mtime_ns


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed have left of files that they were writing.

    What a process of this host has left goes as soon as it is dead, of another host when it is old.

    Args:
        folder: Where they were writing.
    """
    for _, leftover in _leftovers(folder):
        _remove_if_left(folder / leftover)


def _left_in(folder: Path) -> dict[str, list[str]]:
    """Return the leftovers in a folder by the name of their file.

    A folder is listed once, at the first write: whatever is written after that costs the same however much it holds.
    """
    place = os.path.abspath(folder)
    if place not in _left:
        by_name: dict[str, list[str]] = {}
        for name, leftover in _leftovers(folder):
            by_name.setdefault(name, []).append(leftover)
        _left[place] = by_name
    return _left[place]


def _leftovers(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the names of files that were being written, each with that of what it was written to."""
    with os.scandir(folder) as entries:
        for entry in entries:
            leftover = LEFTOVER.fullmatch(entry.name)
            if leftover is not None:
                yield leftover["name"], entry.name


def _remove_if_left(file: Path) -> None:
    """Remove a file that was being written if nobody writes to it any more."""
    leftover = LEFTOVER.fullmatch(file.name)
    with suppress(OSError):
        is_old = time.time() - file.stat().st_mtime > LEFT_S
        if is_old or (leftover and _is_of_this_host(leftover["host"]) and not is_alive(int(leftover["pid"]))):
            file.unlink()


def _host() -> str:
    """Return what stands for this host in the name of a file that is being written, unlike any other's."""
    return f"{host_digest()}-{boot_digest()}"


def _is_of_this_host(host: str | None) -> bool:
    return host in (_host(), host_digest())
