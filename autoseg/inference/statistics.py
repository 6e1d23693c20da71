"""predictions.csv: a row an organ of every predicted image: its volume, the Dice to expect, what to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from autoseg.digests import files_digest
from autoseg.errors import VolumeError
from autoseg.files import atomic_path, remove_leftovers
from autoseg.inference.model import Prediction
from autoseg.json_file import read_json
from autoseg.locks import lock
from autoseg.sheet import as_written, harmless_frame
from autoseg.words import shortened

NAME = "predictions.csv"  # in OUT
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
LOCK = "predictions.lock"  # in OUT
WAIT_S = 600.0  # for another process that writes a mask into OUT
LOW_DICE = 0.7  # expected, below which an organ is named among what to look at first
MOST_LINES = 5  # of images to look at first


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a mask was made from, as digests."""

    key: str  # model, ways, and the image
    image: str  # the content of its files
    place: str  # where they lie


class Statistics:
    """The rows of all images predicted so far; written after each, so that a folder can be gone on with.

    Several processes may write to one table: each takes its lock, reads what the others have written, and changes the
    rows of one image.
    """

    def __init__(self, file: Path | None, fresh: bool = False) -> None:
        """Read the rows of an existing file.

        Args:
            file: CSV; None: nothing is written.
            fresh: Whether all images are to be predicted anew; rows of others stay.

        Raises:
            VolumeError: If the file exists and is no table of predictions.
        """
        self._file, self._fresh = file, fresh
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._state: tuple[int, int, int] | None = None  # of the file, when it was read or written
        if file is not None and file.parent.is_dir():
            with self.locked():  # which removes the lock of a process that was killed
                remove_leftovers(file.parent)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one who writes to OUT, with the rows as they stand in the table now.

        Raises:
            LockedError: If another process writes to it for too long.
            VolumeError: If the file is no table of predictions.
        """
        if self._file is None:
            yield
            return
        with lock(self._file.parent, "autoseg predict", WAIT_S, LOCK):
            if self._state != (state := _state_of(self._file)):
                self._rows = {}
                for row in _read(self._file) if state else ():
                    self._rows.setdefault(str(row["case"]), []).append(row)
                self._state = state
            yield

    def has(self, case: str, key: str, files: Sequence[Path]) -> bool:
        """Return whether a case was predicted by the same model from the same files, and its files are as written."""
        rows = self._rows.get(case)
        if self._fresh or not rows or any(row["key"] != key for row in rows):
            return False
        noted = str(rows[0]["mask"])
        return noted == _short(files_digest(files)) if noted else files[0].is_file()

    def require_same_image(self, case: str, mask: Path, origin: Origin) -> None:
        """Refuse to replace the mask of another image of the same name.

        Raises:
            VolumeError: Then; an image that was changed where it lies, or moved, is the same.
        """
        rows = self._rows.get(case)
        if self._fresh or not rows or not rows[0]["place"] or not mask.exists():
            return
        if rows[0]["place"] != origin.place and rows[0]["image"] != origin.image:
            raise VolumeError(
                f"{mask}: is the mask of another image named {case}; give another OUT, or --overwrite to replace it"
            )

    def forget(self, case: str) -> None:
        """Drop a case's rows, before its mask is written anew."""
        if self._rows.pop(case, None) is not None:
            self._write()

    def add(self, case: str, origin: Origin, files: Sequence[Path], prediction: Prediction[object]) -> None:
        """Take the organs predicted in an image, and write all rows.

        Args:
            case: Its name.
            origin: What it was predicted from.
            files: That were written of it.
            prediction: Its organs.

        Raises:
            OSError: If the disk is full.
        """
        self._rows[case] = [
            {
                "case": case,
                "organ": organ.name,
                "label": organ.label,
                "volume_ml": round(organ.volume_ml, 4),
                "expected_dice": None if organ.expected_dice is None else round(organ.expected_dice, 4),
                "at_border": organ.at_border,
                "unusual": "; ".join(organ.unusual),
                "unlike_training": "; ".join(prediction.unlike),
                "key": origin.key,
                "image": origin.image,
                "place": origin.place,
                "mask": _short(files_digest(files)),
            }
            for organ in prediction.organs
        ]
        self._write()

    def _write(self) -> None:
        if self._file is not None:
            self.write(self._file)
            self._state = _state_of(self._file)

    def write(self, file: Path) -> None:
        """Write all rows as .csv or .json, atomically.

        Raises:
            OSError: If the disk is full.
        """
        rows = [row for case in sorted(self._rows) for row in self._rows[case]]
        with atomic_path(file) as beside:
            if file.suffix == ".json":
                beside.write_text(json.dumps(rows, indent=1), encoding="utf-8")
            else:
                harmless_frame(pd.DataFrame(rows, columns=list(COLUMNS))).to_csv(beside, index=False)

    def look_at_first(self) -> list[str]:
        """Return a line for each image that deserves a look, the most doubtful first."""
        doubts: list[tuple[float, str]] = []
        for case, rows in self._rows.items():
            expected = [row["expected_dice"] for row in rows if _is_number(row["expected_dice"])]
            low = [row for row in rows if _is_number(row["expected_dice"]) and row["expected_dice"] < LOW_DICE]
            missing = [str(row["organ"]) for row in rows if not row["volume_ml"]]
            reasons = [f"{row['organ']}: expected Dice {100 * row['expected_dice']:.0f} %" for row in low]
            reasons += [f"not found: {', '.join(missing)}"] if missing else []
            reasons += [f"{row['organ']}: {row['unusual']}" for row in rows if _is_text(row["unusual"])]
            reasons += [str(rows[0]["unlike_training"])] if _is_text(rows[0]["unlike_training"]) else []
            if reasons:
                doubts.append((min(expected, default=0.0) - 0.5 * len(missing), f"{case}: {'; '.join(reasons)}"))
        return [text for _, text in sorted(doubts)[:MOST_LINES]]


def require_table(file: Path) -> None:
    """Refuse a file that is neither .csv nor .json, or holds something else already.

    Raises:
        VolumeError: Then.
    """
    if file.suffix not in (".csv", ".json"):
        raise VolumeError(f"--statistics {file}: give a name that ends in .csv or .json")
    if file.is_file():
        _read(file)


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        if file.suffix == ".json":
            frame = pd.DataFrame(read_json(file, list))
        else:
            texts = dict.fromkeys(("case", "organ", "key", "unusual", "unlike_training", "image", "place", "mask"), str)
            frame = pd.read_csv(file, dtype=texts, keep_default_na=False, na_values={"expected_dice": [""]})
            frame = frame.assign(**{name: frame[name].map(as_written) for name in texts if name in frame})
        if set(FIRST_COLUMNS) <= set(frame.columns):
            frame = frame.reindex(columns=[*dict.fromkeys((*frame.columns, *COLUMNS))], fill_value="")
            return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    except (OSError, ValueError, TypeError) as error:
        raise VolumeError(f"{file}: is no table of predictions ({shortened(error, 200)}); move it away") from error
    raise VolumeError(f"{file}: is no table of predictions; move it away, or give another name")


def _state_of(file: Path) -> tuple[int, int, int] | None:
    """Return time, size and inode of a file, None where there is none: each write makes a new one."""
    if not file.is_file():
        return None
    status = file.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _short(text: str) -> str:
    return text[:16]


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and value == value


def _is_text(text: object) -> bool:
    return isinstance(text, str) and bool(text)
