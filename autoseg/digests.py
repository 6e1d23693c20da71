"""Digests: is a product still what it was made from, its input files, the settings that matter, and the code.

A product notes one digest of all three where it is written, and is made anew when that digest differs. Only content
counts: what is copied, moved or restored from a backup, with other times, is as fresh as it was, and a file put back in
an older version is seen. There are no versions of formats to count up by hand: the code that computes a product is
itself an input (`code_digest`).

Cost: a file is read once, at about 1 GB/s, and then only looked up as long as its path, size, times and inode stay the
same (`remembered`); a lookup takes some 20 µs. A file younger than `SETTLED_S` is read again, as a clock is too coarse
to tell two writes of the same moment apart.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from autoseg.errors import LockedError
from autoseg.files import write_text
from autoseg.json_file import JsonError, read_json
from autoseg.locks import lock
from autoseg.version import VERSION

logger = logging.getLogger(__name__)
PACKAGE = Path(__file__).parent
SMALL_BYTES = 1 << 18
SETTLED_S = 2.0  # some file systems count in steps of this
NOTE_WAIT_S = 60.0  # for another process to note what it read: milliseconds, seconds where it read very many files
UNREADABLE = "unreadable"
SPACES = 4  # in what is noted of a file: size (bytes), times of content and inode (ns), inode, digest
# absolute path to state and digest of a file, as one text, of which a hundred thousand take little memory
_known: dict[str, str] = {}


def digest(*parts: object) -> str:
    """Return a digest of values by their `repr`: settings, digests, numbers."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return a digest of the content of a file; of a folder, of all files in it with their names.

    A file that is missing, or cannot be read, has a digest of its own: whoever reads it then tells why.
    """
    if os.path.isdir(path):  # false, too, for a name that no file can have
        files = [file for file in sorted(path.rglob("*")) if not file.is_dir()]
        return digest(*[(file.relative_to(path).as_posix(), file_digest(file)) for file in files])
    return _content_digest(path)


def files_digest(paths: Iterable[Path]) -> str:
    """Return a digest of the content of files and folders, in their order; where they lie does not count."""
    return digest(*map(file_digest, paths))


def _content_digest(file: Path) -> str:
    try:
        status = file.stat()
        state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
        known, _, found = _known.get(name := str(file.absolute()), "").rpartition(" ")
        if known == state:
            return found
        found = _read_digest(file, status.st_size)
    except (OSError, ValueError):
        return UNREADABLE
    written_ns = max(status.st_mtime_ns, status.st_ctime_ns)
    if time.time_ns() - written_ns > SETTLED_S * 1e9:  # else it may still be written to, and look the same
        _known[name] = f"{state} {found}"
    return found


def _read_digest(file: Path, size: int) -> str:
    """Read a file of some bytes and return its digest."""
    with file.open("rb") as stream:
        if size < SMALL_BYTES:  # hashlib would take longer to make its buffer than to read so little
            return hashlib.sha256(stream.read()).hexdigest()
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def code_digest(*places: str) -> str:
    """Return a digest of the source files of modules.

    Bytes are hashed, not what they mean: to parse the modules that make a mask would take a third of a second.

    Args:
        places: Modules and rooms below the package that compute a product, as in "metrics", "data/cache.py".

    Returns:
        A digest of the version where the sources cannot be read, as in an installation that holds none.
    """
    try:
        files = [file for place in places for file in _sources(PACKAGE / place)]
        contents = [(f.relative_to(PACKAGE).as_posix(), hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]
    except OSError:
        return digest(VERSION, places)
    return digest(*contents)


def _sources(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


@contextmanager
def remembered(file: Path) -> Iterator[None]:
    """Take what `file` remembers of files that were read before; write what was read meanwhile to it.

    The file may be lost without harm: what it remembers is then read again.
    """
    before = _read(file).get("files")
    for name, entry in _sound(before).items():
        _known.setdefault(name, entry)
    try:
        yield
    finally:
        if file.parent.is_dir() and _known != before:
            try:
                _note(file, "files", _known, beside=True)
            except (LockedError, OSError) as error:  # many that end together, or a disk that is full
                logger.warning("what was read is not remembered, and is read again next time: %s", error)


def _sound(noted: object) -> dict[str, str]:
    """Return the entries of files that are not damaged."""
    entries = noted.items() if isinstance(noted, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, str) and entry.count(" ") == SPACES}


def note_sources(file: Path, product: str, sources: Mapping[str, str]) -> None:
    """Note in `file` what a product was made from: the name of each source, and its digest."""
    _note(file, product, dict(sources))


def noted_sources(file: Path, product: str) -> dict[str, str] | None:
    """Return what `note_sources` noted, or None where it noted nothing."""
    noted = _read(file).get(product)
    return noted if isinstance(noted, dict) else None


def _note(file: Path, name: str, value: Mapping[str, Any], beside: bool = False) -> None:
    """Set one entry of the file, or add to it; of several processes that do so none loses what another one notes."""
    with lock(file.parent, "autoseg", NOTE_WAIT_S, f"{file.name}.lock"):
        noted = _read(file)
        there = _sound(noted.get(name)) if beside else {}
        write_text(file, json.dumps(noted | {name: {**there, **value}}))


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_json(file, dict)
    except (OSError, JsonError):
        return {}


def states_of(paths: Iterable[Path]) -> list[tuple[str, tuple[int, int] | None]]:
    """Return name, and size (bytes) and time (ns), of files; None for one that is missing.

    Files were compared by these before digests were: for what was noted then, and for nothing else.
    """
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    states = [(file, file.stat() if file.exists() else None) for file in files if not file.is_dir()]
    return [(file.name, state and (state.st_size, state.st_mtime_ns)) for file, state in states]
