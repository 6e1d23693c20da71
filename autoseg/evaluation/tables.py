"""The paper's tables: Dice by organ over the training and over the testing cases."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from autoseg.dataset.split import TESTING, TRAINING
from autoseg.evaluation.formats import TextTable

NUMBERS = ("Avg.", "Std.", "Min.", "Max.")  # Dice in %
COUNTS = ("N", "Absent", "Missed")  # cases
COLUMNS = ("Organ", *NUMBERS, *COUNTS)
TOTAL = "Total Avg."

_NOTE = (
    f"{TOTAL}: mean over the organs of each column, also of Std., Min. and Max. "
    "Std.: sample standard deviation (n − 1), blank for one case. N: scored cases. "
    "Absent: cases with the organ in neither truth nor prediction, not scored. "
    "Missed: cases with the organ in the truth and not in the prediction, scored as 0."
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One of the tables a run is told by: its file name, and the cases it counts."""

    name: str
    which: Literal["training", "testing"]
    splits: tuple[str, ...]
    cases: str  # in words


TABLES = (
    Table(
        name="table1_training",
        which="training",
        splits=TRAINING,
        cases="the training cases; validation cases are a part of training and are counted here",
    ),
    Table(name="table2_testing", which="testing", splits=TESTING, cases="the testing cases"),
)


def dice_table(scores: pd.DataFrame, splits: Collection[str], grid: str = "original") -> pd.DataFrame:
    """Return the Dice of every organ over the cases of some splits.

    A case scored by several folds counts once, with the mean of its Dice; it is missed if one fold missed it.

    Args:
        scores: Long scores: columns fold, case, split, organ, label, metric, value (NaN where undefined), grid.
        splits: Which cases to count, as in ("training", "validation").
        grid: "original" or "working".

    Returns:
        Columns `COLUMNS`; a row an organ of `scores` in label order, then `TOTAL`, the mean over organs of each
        column. Dice in %, not rounded; NaN where undefined; Missed is NaN where `scores` has no metric `missed`
        (1 or 0 a case). No row where `scores` has no organ.
    """
    organs = organs_of(scores)
    dice = by_case(scores, "dice", splits, grid)
    missed = by_case(scores, "missed", splits, grid) if (scores["metric"] == "missed").any() else None
    rows = [
        _row(name, dice.get(label, _NONE), None if missed is None else missed.get(label, _NONE))
        for label, name in organs.items()
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys((*NUMBERS, *COUNTS), float))
    if organs:
        scored = (
            table[table["Avg."].notna()] if table["Avg."].notna().any() else table
        )  # the same organs in all columns
        table.loc[len(table)] = [TOTAL, *scored[[*NUMBERS, *COUNTS]].mean()]
    return table


def dice_by_organ(scores: pd.DataFrame, splits: Collection[str], grid: str = "original") -> dict[str, list[float]]:
    """Return the Dice (0 to 1) of the scored cases of every organ of `scores`, in label order."""
    dice = by_case(scores, "dice", splits, grid)
    return {name: [float(v) for v in dice.get(label, _NONE).dropna()] for label, name in organs_of(scores).items()}


def by_case(
    scores: pd.DataFrame, metric: str, splits: Collection[str], grid: str = "original"
) -> dict[int, pd.Series[float]]:
    """Return the values of one metric, label to a series by case: the mean over folds, NaN where undefined."""
    wanted = scores[(scores["metric"] == metric) & scores["split"].isin(list(splits)) & (scores["grid"] == grid)]
    values = pd.to_numeric(wanted["value"]).astype(float)
    means = values.groupby([wanted["label"].astype(int), wanted["case"]]).mean()
    return {int(label): means[label] for label in means.index.unique(level=0)}


def organs_of(scores: pd.DataFrame) -> dict[int, str]:
    """Return label to name of every organ in `scores`, in label order."""
    pairs = scores[["label", "organ"]].drop_duplicates("label")
    return dict(sorted((int(label), str(name)) for label, name in pairs.itertuples(index=False)))


def text_rows(table: pd.DataFrame) -> list[list[str]]:
    """Return the cells of a `dice_table` as text: Dice with one decimal, counts whole, "" where undefined.

    >>> text_rows(pd.DataFrame([["liver", 96.54, None, 96.54, 96.54, 1, 0, 0.5]], columns=list(COLUMNS)))
    [['liver', '96.5', '', '96.5', '96.5', '1', '0', '0.5']]
    """
    return [[str(name), *map(_number, row[:4]), *map(_count, row[4:])] for name, *row in table.itertuples(index=False)]


def paper_tables(scores: pd.DataFrame) -> list[TextTable]:
    """Return the paper's tables as printed, in the order of `TABLES`; one without a scored case has no rows."""
    made = []
    for table in TABLES:
        frame = dice_table(scores, table.splits)
        counted = bool(len(frame)) and bool((frame["N"] + frame["Absent"]).max())
        rows = text_rows(frame) if counted else []
        title = f"Dice (%) of {table.cases}."
        made.append(TextTable(name=table.name, title=title, note=_NOTE, columns=COLUMNS, rows=rows))
    return made


_NONE: pd.Series[float] = pd.Series(dtype=float)


def _row(name: str, dice: pd.Series[float], missed: pd.Series[float] | None) -> list[str | float]:
    percent = dice.dropna() * 100.0
    numbers = [percent.mean(), percent.std(ddof=1), percent.min(), percent.max()]
    absent, count = int(dice.isna().sum()), math.nan if missed is None else int((missed > 0).sum())
    return [name, *numbers, len(percent), absent, count]


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.1f}"


def _count(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"
