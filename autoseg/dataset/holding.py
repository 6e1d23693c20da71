"""The facts of very many cases in little memory: thumbnails lie in a file, what is equal is held once."""

from __future__ import annotations

import tempfile
from array import array
from contextlib import suppress
from dataclasses import replace
from io import FileIO
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from autoseg.dataset.facts import THUMBNAIL, CaseFacts
from autoseg.imaging.grid import Grid

Value = TypeVar("Value")
FLOAT_BYTES = 4
MOST_SHARED = 10_000  # values
NO_THUMBNAIL = array("f")  # the same of all cases


class Holding:
    """Makes facts lean, and has what they lose by that; used as a context, which ends the file."""

    def __init__(self) -> None:
        """Make a file without a name, where there is a place for one."""
        self._file: FileIO | None = None
        with suppress(OSError):  # without a buffer: one that a full disk did not take is written again at each call
            self._file = tempfile.TemporaryFile(buffering=0, prefix="autoseg-")  # noqa: SIM115 - closed at the end
        self._starts: dict[str, int] = {}  # case to the byte where its thumbnails begin
        self._shared: dict[str, object] = {}

    def __enter__(self) -> Holding:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, which is gone then."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def lean(self, case: str, facts: CaseFacts) -> CaseFacts:
        """Return the facts of a case without thumbnails, which go into the file if the disk has room for them.

        Args:
            case: Its id, as it is held already.
            facts: As they came from another process, with an id of their own.
        """
        grid = self._lean_grid(facts.grid)
        stored = grid if repr(facts.stored) == repr(facts.grid) else self._lean_grid(facts.stored)
        facts = replace(facts, case=case, grid=grid, stored=stored, annotated=self._share(facts.annotated))
        if self._file is None:
            return facts
        with suppress(OSError):
            start = self._file.seek(0, 2)
            thumbnails = b"".join(channel.thumbnail.tobytes() for channel in facts.channels)
            if self._file.write(thumbnails) < len(thumbnails):  # a disk with room for a part of them
                return facts
            self._starts[facts.case] = start
            facts = replace(facts, channels=tuple(replace(one, thumbnail=NO_THUMBNAIL) for one in facts.channels))
        return facts

    def thumbnail(self, facts: CaseFacts, channel: int) -> npt.ArrayLike:
        """Return the thumbnail of a channel, flattened."""
        if self._file is None or facts.case not in self._starts:
            return facts.channels[channel].thumbnail
        size = FLOAT_BYTES * THUMBNAIL**3
        self._file.seek(self._starts[facts.case] + size * channel)
        return np.frombuffer(self._file.read(size), np.float32)

    def _lean_grid(self, grid: Grid) -> Grid:
        names = ("shape", "spacing_mm", "origin_mm", "direction")
        return replace(grid, **{name: self._share(getattr(grid, name)) for name in names})

    def _share(self, value: Value) -> Value:
        """Return a value that is written alike and was held before, else this one."""
        text = repr(value)
        known = self._shared.get(text)
        if isinstance(known, type(value)):
            return known
        if len(self._shared) < MOST_SHARED:
            self._shared[text] = value
        return value
