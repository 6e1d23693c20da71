"""CSV files as spreadsheets save and open them: any separator, blank rows, and no cell that is run as a formula."""

from __future__ import annotations

import codecs
import csv
import io
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg.errors import AutosegError
from autoseg.files import atomic_path
from autoseg.words import shortened

if TYPE_CHECKING:
    import pandas as pd

ROWS = 20_000  # of a table that are written at a time
HEAD_BYTES = 1 << 16  # that hold the first line of a table
SEPARATORS = (",", ";", "\t")
# A spreadsheet runs what begins with one of = + - @, a tab or a line's end, and may part cells elsewhere than we do
_LIVE = r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_BEGINS = rf"(?:\A(?=[' ]*{_LIVE})|(?<=[,;\t\r\n])(?='*{_LIVE}))"
_TO_MARK = re.compile(_BEGINS)
_MARKED = re.compile(_BEGINS + "'")
_DECLARED = re.compile(r"sep=([,;\t])", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)? ?%?|[+-]", re.IGNORECASE)


class SheetError(AutosegError, ValueError):
    """A file is no sound CSV table; the message names the file, the line, and the way out."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The cells of a CSV file as texts."""

    columns: tuple[str, ...]  # as written, without blanks around
    rows: dict[int, dict[str, str]]  # number of the line to column, in lower case, to cell; blank rows are left out
    separator: str
    cut: int | None  # number of the first line with fewer cells than there are columns


def harmless(cell: str) -> str:
    """Return a cell that no spreadsheet runs as a formula: with an apostrophe before what would begin one.

    >>> harmless("=1+1"), harmless("a;=1+1"), harmless("liver"), harmless("-1.5")
    ("'=1+1", "a;'=1+1", 'liver', '-1.5')
    """
    return cell if _NUMBER.fullmatch(cell) else _TO_MARK.sub("'", cell)


def as_written(cell: str) -> str:
    """Return what `harmless` was given.

    >>> as_written(harmless("'=1")), as_written("'a'")
    ("'=1", "'a'")
    """
    return _MARKED.sub("", cell)


def harmless_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts and column names are `harmless`; numbers stay as they are."""
    texts = {name: column.map(_harmless_text) for name, column in frame.items() if column.dtype.kind == "O"}
    return frame.assign(**{str(name): column for name, column in texts.items()}).rename(columns=_harmless_text)


def write_frame(frame: pd.DataFrame, file: Path, digits: int) -> None:
    """Write a table as CSV, atomically and `harmless`; undefined values stay blank.

    Args:
        frame: To write, without its index.
        file: Where.
        digits: Significant digits of numbers.

    Raises:
        OSError: If the disk is full; the file is then as it was.
    """
    write_frames([frame], file, digits)


def write_rows(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], file: Path, digits: int, anew: bool = True
) -> None:
    """Write a table as `write_frame`, a part of its rows in memory at a time.

    Args:
        rows: Column to cell.
        columns: Of the table.
        file: Where.
        digits: Significant digits of numbers.
        anew: False: `file` is such a table already, and has these rows below its own.

    Raises:
        OSError: If the disk is full; the file is then as it was.
    """
    import pandas as pd

    remaining = iter(rows)
    parts = iter(lambda: list(islice(remaining, ROWS)), [])
    first = pd.DataFrame(next(parts, []), columns=list(columns))
    write_frames(chain([first], (pd.DataFrame(part, columns=list(columns)) for part in parts)), file, digits, anew)


def write_frames(frames: Iterable[pd.DataFrame], file: Path, digits: int, anew: bool = True) -> None:
    """Write the parts of a table one below the other, as `write_frame` does the whole; `anew` as for `write_rows`."""
    with atomic_path(file) as beside:
        if not anew:
            shutil.copyfile(file, beside)
        with beside.open("w" if anew else "a", encoding="utf-8", newline="") as stream:
            for number, frame in enumerate(frames):
                header = anew and number == 0
                harmless_frame(frame).to_csv(stream, index=False, header=header, float_format=f"%.{digits}g")


def _harmless_text(cell: Any) -> Any:
    return harmless(cell) if isinstance(cell, str) else cell


def read_sheet(file: Path) -> Sheet:
    """Read a CSV file of UTF-8 or UTF-16; its cells are parted by commas, semicolons or tabs.

    Raises:
        SheetError: If it is no such file, names a column twice, or a row has more cells than there are columns.
        OSError: If it cannot be read.
    """
    return parse_sheet(_decoded(file, file.read_bytes()), str(file))


def read_columns(file: Path) -> tuple[str, ...]:
    """Read the names of a CSV file's columns, in lower case.

    Raises:
        SheetError, OSError: As `read_sheet`.
    """
    with file.open("rb") as stream:
        lines = _decoded(file, stream.read(HEAD_BYTES), cut=True).lstrip("\r\n").splitlines()
    declared = bool(lines) and _DECLARED.fullmatch(lines[0].strip("\r\n ")) is not None
    return tuple(column.lower() for column in parse_sheet("\n".join(lines[: 2 if declared else 1]), str(file)).columns)


def is_plain(file: Path) -> bool:
    """Return whether a CSV file is as programs write them: parted by commas, in UTF-8; spreadsheets save others.

    Raises:
        OSError: If it cannot be read.
    """
    with file.open("rb") as stream:
        first = stream.readline(HEAD_BYTES)
    marked = first.startswith((b"\xff\xfe", b"\xfe\xff"))
    return not marked and max(SEPARATORS, key=lambda one: first.count(one.encode())) == "," and b"sep=" not in first


def number(cell: str, separator: str) -> float:
    """Return a cell as a number, NaN where blank; a comma is its decimal point where cells are parted by another sign.

    Raises:
        ValueError: If it is none.

    >>> number("0,5", ";"), number(" 0.5 ", ",")
    (0.5, 0.5)
    """
    text = cell.strip()
    return float((text.replace(",", ".") if separator != "," else text) or "nan")


def _decoded(file: Path, content: bytes, cut: bool = False) -> str:
    """Return the text of a file, or of its beginning."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content, final=not cut)
    except UnicodeDecodeError as error:
        raise SheetError(f"{file}: cannot be read ({error}); save it as comma-separated UTF-8") from error


def parse_sheet(text: str, source: str) -> Sheet:
    """Return the cells of a CSV text.

    Args:
        text: The table, its first line the columns' names; "sep=;" may stand before it.
        source: What it is called in messages.

    Raises:
        SheetError: As `read_sheet`.
    """
    first, _, rest = text.partition("\n")
    declared = _DECLARED.fullmatch(first.strip("\r\n "))
    head = rest.partition("\n")[0] if declared else first
    separator = declared[1] if declared else max(SEPARATORS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = [(reader.line_num, [as_written(cell.strip()) for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise SheetError(f"{source}, line {reader.line_num}: no sound CSV ({error}); correct that line") from error
    lines = [(number, cells) for number, cells in lines[1 if declared else 0 :] if any(cells)]
    columns = tuple(lines[0][1]) if lines else ()
    while columns and not columns[-1]:
        columns = columns[:-1]
    lower = [column.lower() for column in columns]
    twice = [name for name in lower if name and lower.count(name) > 1]
    if twice:
        raise SheetError(f"{source}: has the column {shortened(twice[0])} twice; name each column once")
    rows, cut = {}, None
    for number, cells in lines[1:]:
        if any(cells[len(columns) :]):
            cause = f"has {len(cells)} cells under {len(columns)} columns"
            raise SheetError(f"{source}, line {number}: {cause}; correct that line, or quote the cell")
        if len(cells) < len(columns) and cut is None:
            cut = number
        rows[number] = dict(zip(lower, [*cells, *[""] * len(lower)], strict=False))
    return Sheet(columns=columns, rows=rows, separator=separator, cut=cut)
