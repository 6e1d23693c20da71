"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
