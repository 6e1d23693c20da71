"""Score a case, and write and read scores.csv: one row per fold, case, organ, metric and grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import union_categoricals

from autoseg.dataset.names import side_pairs
from autoseg.dataset.split import SIDES
from autoseg.errors import RunError
from autoseg.imaging.grid import Triple
from autoseg.labels import Label
from autoseg.metrics import TOLERANCE_MM
from autoseg.metrics.pair import organ_pairs
from autoseg.metrics.registry import SHARE, computed_metrics, known_metric
from autoseg.sheet import as_written, is_plain, read_sheet, write_rows
from autoseg.words import shortened

COLUMNS = ("fold", "case", "split", "organ", "label", "metric", "value", "grid")
GRIDS = ("original", "working")
ROWS = 500_000  # that are read at a time
TEXTS = ("case", "organ", "split", "metric", "grid")  # columns
ROUNDING = 1e-6
FIRST_DICE, FIRST_CEILING = "first_stage_dice", "first_stage_ceiling"  # metrics of the first of two stages
Row = dict[str, Any]


def score_rows(
    prediction: npt.NDArray[np.integer[Any]],
    truth: npt.NDArray[np.integer[Any]],
    organs: Mapping[Label, tuple[int, ...]],
    spacing_mm: Triple,
    about: Mapping[str, Any],
    tolerance_mm: float = TOLERANCE_MM,
    ignored: int | None = None,
) -> list[Row]:
    """Return the rows of one case on one grid.

    Args:
        prediction: Predicted label map (Z, Y, X).
        truth: True label map (Z, Y, X).
        organs: To score, each with the values within it.
        spacing_mm: Voxel spacing (Z, Y, X).
        about: The columns fold, case, split and grid.
        tolerance_mm: Tolerance of the normalised surface Dice.
        ignored: Value of the truth where it is not known: nothing there is scored.
    """
    opposite = {one: other for pair in side_pairs(tuple(organs)) for one, other in (pair, pair[::-1])}
    labels = {organ.value: values for organ, values in organs.items()}
    pairs = organ_pairs(prediction, truth, labels, spacing_mm, opposite, ignored)
    return [
        {
            **about,
            "organ": organ.name,
            "label": organ.value,
            "metric": metric.name,
            "value": compute(pairs[organ.value]),
        }
        for organ in organs
        for metric, compute in computed_metrics(organ.name, tolerance_mm, about["grid"])
    ]


def write_scores(rows: Iterable[Row], file: Path, anew: bool = True) -> None:
    """Write scores.csv atomically, anew or below the rows that it has; undefined values stay blank."""
    write_rows(rows, COLUMNS, file, digits=9, anew=anew)


def read_scores(file: Path) -> pd.DataFrame:
    """Read scores.csv; its texts are categories, so that a row takes some 25 bytes however many there are.

    Raises:
        RunError: If it is missing or has other columns.
    """
    try:
        frame = _plain_frame(file) if is_plain(file) else _spreadsheet_frame(file)
    except (OSError, ValueError) as error:
        cause = shortened(error, 200)
        raise RunError(f"{file}: no readable scores ({cause}); run `autoseg evaluate RUN` first") from error
    missing = [c for c in COLUMNS if c not in frame.columns]
    if missing:
        raise RunError(f"{file}: not a scores file (no columns {', '.join(missing)}); run `autoseg evaluate RUN` again")
    return _sound(frame, file)


def _plain_frame(file: Path) -> pd.DataFrame:
    options: dict[str, Any] = {"keep_default_na": False, "na_values": {"value": [""]}}
    with pd.read_csv(file, dtype=dict.fromkeys(TEXTS, str), chunksize=ROWS, **options) as parts:
        frames = [_smaller(part) for part in parts]
    columns = list(frames[0].columns) if frames else []
    frame = pd.DataFrame({name: _joined([one.pop(name) for one in frames]) for name in columns})
    marked = [name for name in ("case", "organ") if name in frame and any(map(_is_marked, frame[name].cat.categories))]
    return frame.assign(**{name: frame[name].astype(str).map(as_written) for name in marked})


def _smaller(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts are categories, and whose whole numbers take as few bytes as they need."""
    frame = frame.astype({name: "category" for name in TEXTS if name in frame})
    whole = frame.select_dtypes("integer")
    return frame.assign(**{str(name): pd.to_numeric(whole[name], downcast="integer") for name in whole})


def _joined(parts: list[pd.Series[Any]]) -> pd.Series[Any]:
    """Return the parts of a column one below the other."""
    if isinstance(parts[0].dtype, pd.CategoricalDtype):
        return pd.Series(union_categoricals(parts))
    return pd.concat(parts, ignore_index=True)


def _is_marked(cell: object) -> bool:
    return as_written(str(cell)) != cell


def _spreadsheet_frame(file: Path) -> pd.DataFrame:
    """Read scores that a spreadsheet has saved with other separators, and perhaps with decimal commas.

    Raises:
        SheetError: If they are no table.
    """
    sheet = read_sheet(file)
    frame = pd.DataFrame(list(sheet.rows.values()), columns=[column.lower() for column in sheet.columns])
    if "value" in frame:
        values = frame["value"].str.replace(",", ".", regex=False)
        frame = frame.assign(value=values.mask(values == ""))
    return frame


def _sound(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Return the frame with its values as numbers.

    Raises:
        RunError: If a cell is not what its column holds, or a row repeats another; the text names the line.
    """
    frame = frame.astype(dict.fromkeys(TEXTS, "category"))
    numbers = {name: pd.to_numeric(frame[name], errors="coerce") for name in ("value", "label", "fold")}
    metrics = {name: known_metric(str(name)) for name in frame["metric"].unique()}
    shares = frame["metric"].isin([name for name, metric in metrics.items() if metric and metric.range == SHARE])
    value = numbers["value"].astype(float)
    whole = {name: numbers[name].notna() & (numbers[name] % 1 == 0) for name in ("label", "fold")}
    wrong = {
        "value, which is not a number": ("value", value.isna() & frame["value"].notna()),
        "value, which is infinite": ("value", value.abs() == math.inf),
        "value of a metric from 0 to 1": ("value", shares & ~value.fillna(0.0).between(0.0, 1.0 + ROUNDING)),
        "label, which is not a whole number": ("label", ~whole["label"]),
        "fold, which is not a whole number": ("fold", ~whole["fold"]),
        f"split, which is none of {', '.join(SIDES)}": ("split", ~frame["split"].isin(SIDES)),
        f"grid, which is none of {', '.join(GRIDS)}": ("grid", ~frame["grid"].isin(GRIDS)),
        "row, which repeats another": ("case", _repeated(frame)),
    }
    for what, (column, bad) in wrong.items():
        if bad.any():
            row = int(bad.to_numpy().argmax())
            raise RunError(
                f"{file}: line {row + 2}: {shortened(repr(str(frame[column].iloc[row])))} stands for a {what}; "
                "correct it, or run `autoseg evaluate RUN` again"
            )
    return _smaller(frame.assign(value=value, label=numbers["label"].astype(int), fold=numbers["fold"].astype(int)))


def _repeated(frame: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows repeat another: of one metric at a time, as that takes a part of the memory."""
    keys = ["fold", "case", "label", "grid"]
    repeated = pd.Series(False, index=frame.index)
    for _, rows in frame.groupby("metric", sort=False, observed=True):
        repeated[rows.index] = rows.duplicated(keys)
    return repeated
