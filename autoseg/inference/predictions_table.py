"""predictions.csv as a file: its columns, rows that are appended to it, and an end that was torn off."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from autoseg.errors import VolumeError
from autoseg.files import atomic_path
from autoseg.json_file import read_json
from autoseg.sheet import as_written, harmless_frame
from autoseg.words import shortened

FIRST_COLUMNS = (
    "case",
    "organ",
    "label",
    "volume_ml",
    "expected_dice",
    "at_border",
    "unusual",
    "unlike_training",
    "key",
)
COLUMNS = (*FIRST_COLUMNS, "image", "place", "mask")  # digests; tables of before have none of them
Row = Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """What tells one content of a file from another."""

    time_ns: int
    size: int  # bytes
    inode: int


def state_of(file: Path) -> State | None:
    """Return the state of a file, None where there is none."""
    if not file.is_file():
        return None
    status = file.stat()
    return State(status.st_mtime_ns, status.st_size, status.st_ino)


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Write a table as .csv or .json, atomically.

    Raises:
        OSError: If the disk is full.
    """
    with atomic_path(file) as beside:
        if file.suffix == ".json":
            beside.write_text(json.dumps(rows, indent=1, allow_nan=False), encoding="utf-8")
        else:
            _frame(rows).to_csv(beside, index=False)


def append_rows(file: Path, rows: Sequence[Row], size: int) -> None:
    """Append rows to a CSV table.

    Args:
        file: With all columns.
        rows: To append.
        size: Of the file before (bytes).

    Raises:
        OSError: If the disk is full; the file is then as it was.
    """
    text = _frame(rows).to_csv(index=False, header=False)
    with file.open("ab") as stream:
        try:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            os.truncate(file, size)
            raise


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return harmless_frame(pd.DataFrame(rows, columns=list(COLUMNS)))


def read_rows(file: Path, start: int = 0) -> list[dict[str, Any]]:
    """Return the rows of a table from a byte on; a line that is torn off is left out.

    Raises:
        VolumeError: If the file is no table of predictions.
    """
    try:
        if file.suffix == ".json":
            frame = pd.DataFrame(read_json(file, list))
        else:
            with file.open("rb") as stream:
                head = stream.readline() if start else b""
                stream.seek(start)
                data = stream.read()
            whole = data[: data.rfind(b"\n") + 1]
            texts = dict.fromkeys(("case", "organ", "key", "unusual", "unlike_training", "image", "place", "mask"), str)
            frame = pd.read_csv(
                io.BytesIO(head + whole), dtype=texts, keep_default_na=False, na_values={"expected_dice": [""]}
            )
            frame = frame.assign(**{name: frame[name].map(as_written) for name in texts if name in frame})
        if set(FIRST_COLUMNS) <= set(frame.columns):
            frame = frame.reindex(columns=[*dict.fromkeys((*frame.columns, *COLUMNS))], fill_value="")
            frame["expected_dice"] = frame["expected_dice"].astype(object).where(frame["expected_dice"].notna(), None)
            return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    except (OSError, ValueError, TypeError) as error:
        raise VolumeError(f"{file}: is no table of predictions ({shortened(error, 200)}); move it away") from error
    raise VolumeError(f"{file}: is no table of predictions; move it away, or give another name")


def torn_case(file: Path, rows: Sequence[Mapping[str, Any]], start: int = 0) -> str | None:
    """Return the case whose rows a killed process or a full disk has cut off; None where all lines are whole.

    Where not even its name is whole, it may be the last one of `rows`, which were read from the byte `start` on.
    """
    with file.open("rb") as stream:
        stream.seek(start)
        rest = stream.read().rpartition(b"\n")[2].decode(errors="replace")
    if not rest:
        return None
    first, *others = next(csv.reader([rest]))
    return as_written(first) if others else str(rows[-1]["case"]) if rows else ""


def has_all_columns(file: Path) -> bool:
    """Return whether a CSV table has all columns, in their order, as tables of before have not."""
    with file.open("rb") as stream:
        return stream.readline().rstrip() == ",".join(COLUMNS).encode()
