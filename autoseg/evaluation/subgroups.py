"""Subgroups of the testing patients: the Dice of each group, and whether the gap between groups is more than chance."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoseg.evaluation.compare import holm
from autoseg.evaluation.intervals import BLOCK, RESAMPLES, SEED, mean_interval
from autoseg.evaluation.patients import Patients
from autoseg.evaluation.statistics import by_case

MOST_GROUPS = 6  # of a column; one with more is cut at its median where it holds numbers, else left out
UNKNOWN = ("", "na", "n/a", "nan", "none", "null", "unknown", "?", "-")  # what tables write where nothing is known
FEWEST_PATIENTS = 3  # of a group that is shown, and tested against others
COLUMNS = ("Group", "Patients", "Mean Dice (%)", "95 % CI", "Lowest (%)")
GAPS = ("Characteristic", "Highest", "Lowest", "Gap (points)", "p", "p (Holm)")


def grouped(records: pd.DataFrame) -> pd.DataFrame:
    """Return the group of each case in each column of `records` that makes between two and `MOST_GROUPS` groups."""
    columns = {str(name): _groups(records[name]) for name in records}
    return pd.DataFrame({name: groups for name, groups in columns.items() if groups is not None}, index=records.index)


def _groups(column: pd.Series) -> pd.Series | None:
    known = column.dropna()
    known = known[~known.astype(str).str.strip().str.casefold().isin(UNKNOWN)]
    numbers = pd.to_numeric(known, errors="coerce")
    if numbers.notna().all() and numbers.nunique() > MOST_GROUPS:
        middle = float(numbers.median())
        told = _number(float(f"{middle:.9g}"))  # the middle of two numbers may have more digits than they
        low, high = f"up to {told}", f"above {told}"
        return numbers.map(lambda value: low if value <= middle else high)
    texts = numbers.map(_number) if numbers.notna().all() else known.map(str)
    return texts if 2 <= texts.nunique() <= MOST_GROUPS else None


def _number(value: float) -> str:
    """Return a number with all its digits: two that differ are two groups.

    >>> _number(1000001.0), _number(2.5)
    ('1000001', '2.5')
    """
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def subgroups(scores: pd.DataFrame, splits: Collection[str], groups: pd.DataFrame, patients: Patients) -> pd.DataFrame:
    """Return the mean Dice of the patients of each group, with its interval; columns `COLUMNS`.

    A patient counts once in a group, with the mean over its cases of their mean over organs. Groups of fewer than
    `FEWEST_PATIENTS` are left out: such a row is about persons, not about a group. So is a group without another.
    """
    rows = []
    for name in groups:
        dice = _dice_of_patients(scores, splits, groups[name], patients)
        shown = [(group, values) for group, values in dice.groupby(level=0) if len(values) >= FEWEST_PATIENTS]
        for group, values in shown if len(shown) > 1 else ():
            interval = mean_interval(list(values))
            text = "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
            rows.append([f"{name}: {group}", len(values), 100 * values.mean(), text, 100 * values.min()])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def gaps(scores: pd.DataFrame, splits: Collection[str], groups: pd.DataFrame, patients: Patients) -> pd.DataFrame:
    """Return the gap between the best and the worst group of each column, and its p; columns `GAPS`, largest first.

    Only groups of at least `FEWEST_PATIENTS` patients count. The permutation test takes the largest gap of every
    permutation, so choosing the worst group is in its p; Holm's correction is over the columns.
    """
    rows: list[tuple[str, str, str, float, float]] = []
    for name in groups:
        dice = _dice_of_patients(scores, splits, groups[name], patients)
        sizes = dice.groupby(level=0).transform("size")
        dice = dice[sizes >= FEWEST_PATIENTS]
        if dice.index.get_level_values(0).nunique() < 2:
            continue
        means = dice.groupby(level=0).mean()
        gap = float(means.max() - means.min())
        codes = dice.index.get_level_values(0).factorize()[0]
        p = permutation_p(np.asarray(dice, dtype=np.float64), np.asarray(codes))
        rows.append((str(name), str(means.idxmax()), str(means.idxmin()), 100 * gap, p))
    corrected = holm([row[-1] for row in rows])
    table = pd.DataFrame([[*row, p] for row, p in zip(rows, corrected, strict=True)], columns=list(GAPS))
    return table.sort_values("Gap (points)", ascending=False, kind="stable", ignore_index=True)


def permutation_p(values: npt.NDArray[np.float64], codes: npt.NDArray[np.intp]) -> float:
    """Return the p of the largest gap between means of groups, by permuting who is in which group.

    Args:
        values: One a patient.
        codes: The group of each, from 0.
    """
    rng = np.random.default_rng(SEED)
    sizes = np.bincount(codes)
    edges = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    observed = np.bincount(codes, values) / sizes
    rows = max(1, BLOCK // len(values))
    as_large = 0
    for first in range(0, RESAMPLES, rows):
        orders = rng.permuted(np.tile(values, (min(rows, RESAMPLES - first), 1)), axis=1)  # who is first is in group 0
        means = np.add.reduceat(orders, edges, axis=1) / sizes
        as_large += int(np.count_nonzero(np.ptp(means, axis=1) >= np.ptp(observed) - 1e-12))
    return float((1 + as_large) / (1 + RESAMPLES))


def _dice_of_patients(
    scores: pd.DataFrame, splits: Collection[str], groups: pd.Series[str], patients: Patients
) -> pd.Series[float]:
    """Return the mean Dice by (group, patient), 0 to 1."""
    means = pd.DataFrame(by_case(scores, "dice", splits)).mean(axis=1).dropna()
    known = groups.reindex(means.index).dropna()
    people = [patients.get(str(case), str(case)) for case in known.index]
    return means[known.index].groupby([known.to_numpy(), people]).mean()
