"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appearing(file: Path) -> Iterator[Path]:
    """Give a path beside `file` to write to; rename it to `file` when the block ends well, else remove it.

    Raises:
        OSError: If the folder cannot be made or the disk is full; it names `file`, which is then as it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{os.getpid()}.{file.name}")
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


def write_text(file: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with appearing(file) as beside:
        beside.write_text(text, encoding="utf-8")
