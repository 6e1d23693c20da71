"""Files that appear whole or not at all, and whether they have changed since."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from autoseg.version import VERSION

LEFT_S = 3600  # no file takes so long from one block of it to the next


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
    file.parent.mkdir(parents=True, exist_ok=True)
    name = file.name[: len(file.name) - len(suffix)] + suffix
    _remove_leftovers(file.parent, name)
    beside = file.with_name(f".{os.getpid()}.{name}")
    try:
        yield beside
        with beside.open("rb+") as stream:
            os.fsync(stream.fileno())  # or a power cut may leave an empty file under the new name
        os.replace(beside, file)
    except OSError as error:
        if error.filename not in (None, str(beside)):  # of another file that was read meanwhile
            raise
        code = error.errno or errno.ENOSPC  # numpy gives none, for a write that was cut short
        raise OSError(code, os.strerror(code), str(file)) from error
    finally:
        beside.unlink(missing_ok=True)


def _remove_leftovers(folder: Path, name: str) -> None:
    """Remove what processes that were killed have left of a file under the names beside it."""
    leftover = re.compile(rf"\.\d+\.{re.escape(name)}")
    for old in [Path(entry) for entry in os.scandir(folder) if leftover.fullmatch(entry.name)]:
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > LEFT_S:
                old.unlink()


def write_text(file: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic_path(file) as beside:
        beside.write_text(text, encoding="utf-8")


def states_of(paths: Iterable[Path]) -> list[tuple[str, tuple[int, int] | None]]:
    """Return name, and size (bytes) and time (ns), of files; None for one that is missing.

    Of a folder, as of a DICOM series, those of all files in it: its own time does not tell that one was overwritten.
    """
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    states = [(file, file.stat() if file.exists() else None) for file in files if not file.is_dir()]
    return [(file.name, state and (state.st_size, state.st_mtime_ns)) for file, state in states]


def digest_of_sources(files: Sequence[Path], *settings: object) -> str:
    """Return a digest of the state (size, time) of files, of settings, and of this version of autoseg.

    As long as it is the same, so is what is made of them. A file that is missing has a state of its own.
    """
    return hashlib.sha256(repr((VERSION, states_of(files), settings)).encode()).hexdigest()
