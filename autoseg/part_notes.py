"""What parts of a verb have found of their cases, left beside its product until a call without a part gathers it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from autoseg.digests import digest
from autoseg.errors import AutosegError, LockedError
from autoseg.files import write_text
from autoseg.json_file import JsonError, parse_json
from autoseg.locks import NAME
from autoseg.parts import Part, lock_part, share_of
from autoseg.pool import Crew, each

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Form(Generic[Item, Result]):
    """How the result of a case is noted."""

    dump: Callable[[Result], Any]  # as what JSON holds
    load: Callable[[Any], Result]  # the inverse
    content: Callable[[Item], str]  # digest of the files that it is made from
    how: str  # digest of what it is made from beside the item itself


class PartNotes(Generic[Item, Result]):
    """The results of cases: lines of JSON in a folder beside the product, a file a part.

    Lines stay in their files: what is held is where that of each case begins.
    """

    def __init__(self, folder: Path, part: Part | None, form: Form[Item, Result]) -> None:
        """Read what is noted; what a killed process has left half written does not count.

        Args:
            folder: Of the notes; it may be missing.
            part: That is at work; None: the call that gathers.
            form: Of the results.
        """
        self.part = part
        self._folder, self._form = folder, form
        self._file = None if part is None else folder / f"{part.number}-of-{part.of}.jsonl"
        if self._file is not None and self._file.is_file() and not _is_whole(self._file):
            write_text(self._file, "".join(json.dumps(line) + "\n" for _, line in _lines(self._file)))
        self._places: dict[str, _Place] = {}  # of the last line of each case
        for file in sorted(folder.glob("*-of-*.jsonl")):
            for start, line in _lines(file):
                self._places[line["case"]] = _Place(file, start, line["sources"])

    def share(self, names: Iterable[str]) -> frozenset[str]:
        """Return the names of the cases that are to be done."""
        return share_of(self.part, names)

    def each(
        self, function: Callable[[Item], Result], items: Mapping[str, Item], crew: int | Crew
    ) -> Iterator[tuple[str, Result | AutosegError]]:
        """Do as `pool.each`, but take what is noted from there, and, as a part, do its share and note it."""
        share = self.share(items)
        due: list[str] = []
        for name in filter(share.__contains__, items):
            place = self._places.get(name)
            if place is None or place.sources != self._sources(items[name]):
                due.append(name)
            elif self.part is None:
                yield name, self._form.load(place.line()["result"])
        sources: dict[str, str] = {}

        def begun() -> Iterator[tuple[str, Item]]:
            for name in due:
                if self._file is not None:
                    sources[name] = self._sources(items[name])  # as it is before it is read
                yield name, items[name]

        for name, result in each(function, begun(), crew):
            if self._file is not None and not isinstance(result, AutosegError):
                line = {"case": name, "sources": sources[name], "result": self._form.dump(result)}
                with self._file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line, default=float) + "\n")
            yield name, result

    def _sources(self, item: Item) -> str:
        return digest(self._form.content(item), item, self._form.how)


@contextmanager
def part_notes(
    product: Path, what: str, part: Part | None, form: Form[Item, Result]
) -> Iterator[PartNotes[Item, Result]]:
    """Give the notes on a product, alone or beside other parts.

    Args:
        product: That is made of them, a file.
        what: Is done meanwhile, as in "autoseg score".
        part: That is done; None: all of it.
        form: Of the results.

    Raises:
        LockedError: If another process works on the same.
    """
    folder = _folder(product)
    if part is None and not folder.is_dir():
        yield PartNotes(folder, None, form)
        return
    with lock_part(folder, what, part):
        yield PartNotes(folder, part, form)


def clear_notes(product: Path, what: str) -> None:
    """Remove the notes on a product that is written; while a part is at work again they stay.

    Args:
        product: That was made of them, a file.
        what: Is done meanwhile, as in "autoseg score".
    """
    folder = _folder(product)
    if not folder.is_dir():
        return
    with suppress(LockedError, OSError), lock_part(folder, what, None):
        for file in folder.iterdir():
            if not file.name.startswith(NAME):  # a lock, of a part that waits for this one
                file.unlink(missing_ok=True)
    with suppress(OSError):  # it is not empty
        folder.rmdir()


def _folder(product: Path) -> Path:
    return product.with_name(f"{product.name}.parts")


@dataclass(frozen=True)
class _Place:
    """Where a line is."""

    file: Path
    start: int  # byte
    sources: str  # that the line names

    def line(self) -> dict[str, Any]:
        """Read the line, which was found whole."""
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            return parse_json(stream.readline().decode("utf-8", errors="replace"), str(self.file), dict)


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines of a file that are whole, each with the byte where it begins."""
    start = 0
    with file.open("rb") as stream:
        for number, text in enumerate(stream, start=1):
            with suppress(JsonError):
                line = parse_json(text.decode("utf-8", errors="replace"), f"{file}, line {number}", dict)
                if {"case", "sources", "result"} <= set(line):
                    yield start, line
            start += len(text)


def _is_whole(file: Path) -> bool:
    """Return whether a file ends with a line's end; an empty one does not."""
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        return stream.read() == b"\n"
