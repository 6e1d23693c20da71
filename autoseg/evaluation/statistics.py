"""Statistics over cases: the paper's tables of Dice, every metric by organ, bootstrap confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from autoseg.dataset.split import TESTING, TRAINING
from autoseg.evaluation.intervals import patient_intervals, total_of_patients
from autoseg.evaluation.patients import NO_PATIENTS, Patients

NUMBERS = ("Avg.", "Std.", "Min.", "Max.")  # Dice in %
COUNTS = ("N", "Absent", "Missed")  # cases
COLUMNS = ("Organ", *NUMBERS, *COUNTS)
TOTAL = "Total Avg."  # of the tables in the paper's form
OVER_ORGANS = "Mean over organs"  # of all others
STATISTICS = ("n", "mean", "std", "median", "min", "max", "ci95_low", "ci95_high")
KEYS = ["fold", "case", "label", "grid"]  # columns that tell an organ of a case


@dataclass(frozen=True, kw_only=True)
class Table:
    """One of the two tables of a run: its file name, and the cases that it counts."""

    name: str
    which: Literal["training", "testing"]
    splits: tuple[str, ...]
    cases: str  # in words


TABLES = (  # testing first: it alone tells how the model does on new patients
    Table(name="table2_testing", which="testing", splits=TESTING, cases="the testing cases"),
    Table(
        name="table1_training",
        which="training",
        splits=TRAINING,
        cases="the training and validation cases, with which the model was made",
    ),
)


def dice_table(scores: pd.DataFrame, splits: Collection[str], grid: str = "original") -> pd.DataFrame:
    """Return the Dice of every organ over the cases of some splits.

    A case scored by several folds counts once, with the mean of its Dice. An organ is missed where the truth has it and
    no voxel of it was found, in one fold at least: there is none in the mask, or it lies elsewhere.

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
    missed = by_case(with_misses(scores), "missed", splits, grid) if (scores["metric"] == "missed").any() else None
    rows = [_row(name, dice[label], None if missed is None else missed[label]) for label, name in organs.items()]
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
    return {name: [float(v) for v in dice[label].dropna()] for label, name in organs_of(scores).items()}


def by_case(
    scores: pd.DataFrame, metric: str, splits: Collection[str], grid: str = "original"
) -> dict[int, pd.Series[float]]:
    """Return the values of one metric, label to a series by case: the mean over folds, NaN where undefined.

    Only labels that a case of these splits has are keys; asked for another label it returns a series without values.
    """
    rows = scores[(scores["metric"] == metric) & scores["split"].isin(list(splits)) & (scores["grid"] == grid)]
    values = pd.to_numeric(rows["value"]).astype(float)
    means = values.groupby([rows["label"].astype(int), rows["case"].astype(str)]).mean()
    return _ByLabel((int(label), means[label]) for label in means.index.unique(level=0))


class _ByLabel(dict[int, "pd.Series[float]"]):
    """Values by case for each label; none for a label that no case has."""

    def __missing__(self, label: int) -> pd.Series[float]:
        return pd.Series(dtype=float)


def organs_of(scores: pd.DataFrame) -> dict[int, str]:
    """Return label to name of every organ in `scores`, in label order."""
    pairs = scores[["label", "organ"]].drop_duplicates("label")
    return dict(sorted((int(label), str(name)) for label, name in pairs.itertuples(index=False)))


def statistics(
    scores: pd.DataFrame, splits: Collection[str], grid: str = "original", patients: Patients = NO_PATIENTS
) -> pd.DataFrame:
    """Return the numbers of every organ and metric over the cases of some splits.

    Args:
        scores: Long scores, as for `dice_table`.
        splits: Which cases to count.
        grid: "original" or "working".
        patients: Case to patient; the intervals resample patients.

    Returns:
        Columns organ, label, metric and STATISTICS, in the units of scores.csv (Dice 0 to 1), not rounded; a row an
        organ in label order and metric. NaN where undefined.
    """
    organs: list[list[Any]] = []
    values: dict[tuple[int, Any], pd.Series[float]] = {}
    for metric, frame in scores.groupby("metric", sort=False, observed=True):
        of_metric = by_case(frame, str(metric), splits, grid)
        named = organs_of(frame) if of_metric else {}  # an organ that is labelled in none of the cases has its row, too
        organs += [[name, label, metric] for label, name in named.items()]
        values |= {(label, metric): of_metric[label] for label in named}
    ends = patient_intervals(pd.DataFrame(values, dtype=float), patients)
    rows = [
        [*organ, *_numbers(values[organ[1], organ[2]].dropna()), *interval]
        for organ, interval in zip(organs, ends, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["organ", "label", "metric", *STATISTICS])
    return frame.sort_values("label", kind="stable", ignore_index=True)


def total_interval(
    scores: pd.DataFrame, splits: Collection[str], patients: Patients, level: float = 0.95
) -> tuple[float, float] | None:
    """Return a confidence interval of the mean over organs of each organ's mean Dice, by resampling patients.

    Args:
        scores: Long scores, as for `dice_table`.
        splits: Which cases to count.
        patients: Of the cases.
        level: Share of such intervals that should hold the true mean.

    Returns:
        Low and high end, 0 to 1; None of fewer than `intervals.FEWEST` patients, or where all are alike.
    """
    return total_of_patients(pd.DataFrame(by_case(scores, "dice", splits), dtype=float), patients, level)


def folds_of(scores: pd.DataFrame, splits: Collection[str]) -> int:
    """Return how many folds have scored cases of some splits."""
    return int(scores.loc[scores["split"].isin(list(splits)), "fold"].nunique())


def with_misses(scores: pd.DataFrame) -> pd.DataFrame:
    """Return scores in which `missed` is 1 also where an organ of the truth was predicted elsewhere only."""
    elsewhere = _whose(scores, "dice", lambda value: value == 0)
    elsewhere = elsewhere.intersection(_whose(scores, "truth_ml", lambda value: value > 0))
    is_missed = (scores["metric"] == "missed").to_numpy()
    value = scores["value"].to_numpy(dtype=float, copy=True)
    value[is_missed] = np.where(_keys(scores[is_missed]).isin(elsewhere), 1.0, value[is_missed])
    return scores.assign(value=value)


def _whose(scores: pd.DataFrame, metric: str, holds: Callable[[pd.Series[float]], pd.Series[bool]]) -> pd.MultiIndex:
    """Return whose value of a metric is so; of several the last one counts."""
    rows = scores[scores["metric"] == metric].drop_duplicates(KEYS, keep="last")
    return _keys(rows[holds(rows["value"])])


def _keys(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[KEYS].astype({"case": str, "grid": str}))


def _row(name: str, dice: pd.Series[float], missed: pd.Series[float] | None) -> list[str | float]:
    percent = dice.dropna() * 100.0
    numbers = [percent.mean(), percent.std(ddof=1), percent.min(), percent.max()]
    absent, count = int(dice.isna().sum()), math.nan if missed is None else int((missed > 0).sum())
    return [name, *numbers, len(percent), absent, count]


def _numbers(values: pd.Series[float]) -> list[float]:
    return [len(values), values.mean(), values.std(ddof=1), values.median(), values.min(), values.max()]
