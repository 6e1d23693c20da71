"""Every metric by organ: a wide table to print, and the numbers behind it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import pandas as pd

from autoseg.evaluation.formats import TextTable
from autoseg.evaluation.intervals import mean_interval
from autoseg.evaluation.tables import TOTAL, Table, by_case, organs_of
from autoseg.metrics.registry import METRICS, Metric, metric_named

_NONE: pd.Series[float] = pd.Series(dtype=float)
STATISTICS = ("n", "mean", "std", "median", "min", "max", "ci95_low", "ci95_high")


def statistics(scores: pd.DataFrame, splits: Collection[str], grid: str = "original") -> pd.DataFrame:
    """Return the numbers of every organ and metric over the cases of some splits.

    Args:
        scores: Long scores, as for `tables.dice_table`.
        splits: Which cases to count.
        grid: "original" or "working".

    Returns:
        Columns organ, label, metric and STATISTICS, in the units of scores.csv (Dice 0 to 1), not rounded; a row an
        organ in label order and metric. NaN where undefined.
    """
    rows = []
    for metric, frame in scores.groupby("metric", sort=False):
        values = by_case(scores, str(metric), splits, grid)
        organs = organs_of(frame) if values else {}  # an organ that is labelled in none of the cases has its row, too
        rows += [[o, label, metric, *_numbers(values.get(label, _NONE).dropna())] for label, o in organs.items()]
    frame = pd.DataFrame(rows, columns=["organ", "label", "metric", *STATISTICS])
    return frame.sort_values("label", kind="stable", ignore_index=True)


def metric_table(table: Table, numbers: pd.DataFrame) -> TextTable:
    """Return the wide table of the cases that `table` counts, from their `statistics`; no rows where there are none."""
    columns, rows = _wide(numbers)
    title = f"All metrics of {table.cases}."
    return TextTable(name=f"metrics_{table.which}", title=title, note=_note(numbers), columns=columns, rows=rows)


def _numbers(values: pd.Series[float]) -> list[float]:
    low, high = mean_interval(list(values)) or (math.nan, math.nan)
    return [len(values), values.mean(), values.std(ddof=1), values.median(), values.min(), values.max(), low, high]


def _wide(numbers: pd.DataFrame) -> tuple[tuple[str, ...], list[list[str]]]:
    shown = [metric.name for metric in _in_table(map(metric_named, numbers["metric"].drop_duplicates()))]
    titles = [_title(metric) for metric in shown]
    place = shown.index("dice") + 1 if "dice" in shown else 0
    columns = ("Organ", *titles[:place], *(("95 % CI", "Median") if place else ()), *titles[place:], "N")
    rows = []
    for _, organ in numbers.groupby("label", sort=True):
        by_metric = organ.set_index("metric")
        cells = [_mean_and_spread(by_metric, metric) for metric in shown]
        if place:
            cells[place:place] = _of_dice(by_metric)
        count = f"{by_metric['n'].get('dice', 0):.0f}"
        rows.append([str(organ["organ"].iloc[0]), *cells, count])
    if rows:
        rows.append(_total(numbers, shown, place))
    return columns, rows


def _in_table(metrics: Iterable[Metric]) -> list[Metric]:
    """Return the metrics that the table has columns of, those without a better side last."""
    return sorted((m for m in metrics if m.in_table), key=lambda metric: metric.higher_is_better is None)


def _note(numbers: pd.DataFrame) -> str:
    """Return what the columns mean; of a metric that is not for every organ only where there is one."""
    there = set(numbers["metric"])
    metrics = _in_table(metric for metric in METRICS.values() if metric.only_for is None or metric.name in there)
    return " ".join(
        [
            "Mean ± sample standard deviation over the cases; 95 % CI: bootstrap interval of the mean Dice.",
            *(metric.note for metric in metrics if metric.note),
            f"{TOTAL}: mean over the organs of each mean.",
        ]
    )


def _title(metric: str) -> str:
    return f"{metric_named(metric).title} ({metric_named(metric).unit})"


def _mean_and_spread(organ: pd.DataFrame, metric: str) -> str:
    if metric not in organ.index:
        return ""
    mean, spread = (metric_named(metric).factor * _value(organ, metric, name) for name in ("mean", "std"))
    if math.isnan(mean):
        return ""
    return _text(metric, mean) + ("" if math.isnan(spread) else f" ± {_text(metric, spread)}")


def _of_dice(organ: pd.DataFrame) -> list[str]:
    if "dice" not in organ.index:
        return ["", ""]
    low, high, median = (100 * _value(organ, "dice", name) for name in ("ci95_low", "ci95_high", "median"))
    interval = "" if math.isnan(low) else f"{_text('dice', low)} to {_text('dice', high)}"
    return [interval, "" if math.isnan(median) else _text("dice", median)]


def _value(organ: pd.DataFrame, metric: str, name: str) -> float:
    return float(organ[name].to_numpy(dtype=float)[organ.index.get_loc(metric)])


def _total(numbers: pd.DataFrame, shown: list[str], place: int) -> list[str]:
    means = numbers.groupby("metric")["mean"].mean()
    cells = ["" if pd.isna(means[m]) else _text(m, metric_named(m).factor * means[m]) for m in shown]
    if place:
        medians = numbers.loc[numbers["metric"] == "dice", "median"]
        cells[place:place] = ["", "" if medians.isna().all() else _text("dice", 100 * medians.mean())]
    counts = numbers.loc[numbers["metric"] == "dice", "n"]
    count = counts[counts > 0].mean() if counts.any() else 0.0
    return [TOTAL, *cells, f"{count:.0f}" if float(count).is_integer() else f"{count:.1f}"]


def _text(metric: str, value: float) -> str:
    """Return a number with the decimals its metric deserves, a true minus sign, and no negative zero."""
    text = f"{value:.{metric_named(metric).decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")
