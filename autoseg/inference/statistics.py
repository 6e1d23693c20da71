"""What was predicted, a row an organ of every image: its volume, the Dice to expect, what to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.digests import text_digest
from autoseg.errors import LockedError, VolumeError
from autoseg.files import remove_leftovers
from autoseg.imaging.stored import stored_digest
from autoseg.inference.model import Prediction
from autoseg.inference.predictions_table import (
    State,
    append_rows,
    has_all_columns,
    read_rows,
    state_of,
    torn_case,
    write_rows,
)
from autoseg.locks import lock

NAME = "predictions.csv"  # in OUT
LOCK = "predictions.lock"  # in OUT
IMAGE_LOCK = "predictions.{}.lock"  # in OUT, of one image's files
WAIT_S = 600.0  # for another process that writes rows, or the files of the same image, into OUT
LOW_DICE = 0.7  # expected, below which an organ is named among what to look at first
MOST_LINES = 5  # of images to look at first


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a mask was made from, as digests."""

    key: str  # model, ways, and the image
    image: str  # the content of its files
    place: str  # where they lie


class Statistics:
    """The rows of all images predicted so far; those of each are appended, so that a folder can be gone on with.

    Several processes may write to one table: each takes its lock, reads what the others have appended, and appends
    the rows of one image. Of an image that is predicted anew the last rows hold; those before them go when the table
    is sorted. A table whose end is torn is written anew.
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
        self._has_old = False  # the file may have rows that no longer hold
        self._state: State | None = None  # of the file, when it was read or written
        self._is_appendable = False  # the file has all columns, and its last line is whole
        if file is not None and file.parent.is_dir():
            with self.locked():  # which removes the lock of a process that was killed
                remove_leftovers(file.parent)
                for left in file.parent.glob(IMAGE_LOCK.format("*")):
                    with suppress(LockedError, OSError), ExitStack() as stack:
                        stack.enter_context(lock(file.parent, "autoseg predict", name=left.name))  # who lives holds it

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one who writes rows, and see them as they stand in the table now.

        Raises:
            LockedError: If another process writes to it for too long.
            VolumeError: If the file is no table of predictions.
        """
        if self._file is None:
            yield
            return
        with lock(self._file.parent, "autoseg predict", WAIT_S, LOCK):
            self._take_in(state_of(self._file))
            yield

    @contextmanager
    def alone(self, case: str) -> Iterator[None]:
        """Be the one who writes the files of an image, while others write those of other images.

        Raises:
            LockedError: If another process writes them for too long.
        """
        if self._file is None:
            yield
            return
        with lock(self._file.parent, "autoseg predict", WAIT_S, IMAGE_LOCK.format(_short(text_digest(case)))):
            yield

    def _take_in(self, state: State | None) -> None:
        """Read what others have written since."""
        if self._file is None or state == self._state:
            return
        before, self._state = self._state, state
        start = before.size if before and state and state.inode == before.inode and self._is_appendable else 0
        if not start:
            self._rows, self._is_appendable = {}, False
        if state is None:
            return
        rows = read_rows(self._file, start)
        torn = torn_case(self._file, rows, start)
        for row in rows:
            if row["case"] != torn:  # of whom not all rows need be there
                self._take_row(row)
        self._is_appendable = torn is None and (start > 0 or has_all_columns(self._file))

    def _take_row(self, row: dict[str, Any]) -> None:
        """Take a row of the file; the first of a later prediction replaces those of an earlier one."""
        rows = self._rows.setdefault(str(row["case"]), [])
        is_later = any(before["organ"] == row["organ"] for before in rows)
        if is_later or (rows and any(rows[0][name] != row[name] for name in ("key", "image", "mask"))):
            rows.clear()
            self._has_old = True
        rows.append(row)

    def knows(self, case: str) -> bool:
        """Return whether it matters what a case was predicted from: there are rows of it, which may still hold."""
        return not self._fresh and bool(self._rows.get(case))

    def has(self, case: str, key: str, files: Sequence[Path]) -> bool:
        """Return whether a case was predicted by the same model from the same files, and its files are as written."""
        rows = self._rows[case] if self.knows(case) else []
        if not rows or any(row["key"] != key for row in rows):
            return False
        noted = str(rows[0]["mask"])
        return noted == _short(stored_digest(files)) if noted else files[0].is_file()

    def require_same_image(self, case: str, mask: Path, origin: Origin) -> None:
        """Refuse to replace the mask of another image of the same name.

        Raises:
            VolumeError: Then; an image that was changed where it lies, or moved, is the same.
        """
        rows = self._rows[case] if self.knows(case) else []
        if not rows or not rows[0]["place"] or not mask.exists():
            return
        if rows[0]["place"] != origin.place and rows[0]["image"] != origin.image:
            raise VolumeError(
                f"{mask}: is the mask of another image named {case}; give another OUT, or --overwrite to replace it"
            )

    def forget(self, case: str) -> None:
        """Drop a case's rows, whose mask is written anew; in the file they stay until others follow."""
        self._has_old |= self._rows.pop(case, None) is not None

    def add(self, case: str, origin: Origin, files: Sequence[Path], prediction: Prediction[object]) -> None:
        """Take the organs predicted in an image whose rows are forgotten, and write them.

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
                "mask": _short(stored_digest(files)),
            }
            for organ in prediction.organs
        ]
        try:
            if self._is_appendable:
                self._append(self._rows[case])
            else:
                self._write()
        except OSError:
            del self._rows[case]
            raise

    def sort(self) -> None:
        """Write the table in the order of the cases' names, without rows that no longer hold."""
        with self.locked():
            if self._has_old or list(self._rows) != sorted(self._rows):
                self._write()

    def _append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._file is None or self._state is None:
            return
        append_rows(self._file, rows, self._state.size)
        self._state = state_of(self._file)

    def _write(self) -> None:
        if self._file is not None:
            self._rows = {case: self._rows[case] for case in sorted(self._rows)}
            self.write(self._file)
            self._state, self._is_appendable, self._has_old = state_of(self._file), True, False

    def write(self, file: Path) -> None:
        """Write all rows as .csv or .json, atomically.

        Raises:
            OSError: If the disk is full.
        """
        write_rows(file, [row for case in sorted(self._rows) for row in self._rows[case]])

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
        read_rows(file)


def _short(text: str) -> str:
    return text[:16]


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and value == value


def _is_text(text: object) -> bool:
    return isinstance(text, str) and bool(text)
