"""The tables of a report as text: the paper's two, all metrics by organ, and the published ones."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from autoseg.evaluation.published import PAPER
from autoseg.evaluation.statistics import COLUMNS, OVER_ORGANS, TABLES, TOTAL, Table, dice_table
from autoseg.metrics.registry import METRICS, Metric, metric_named
from autoseg.report.formats import TextTable

INTERVAL_NOTE = "95 % CI: bootstrap interval of the mean Dice, by resampling patients with all their cases"
Interval = tuple[float, float] | None  # 0 to 1; None: of too few
_DICE_NOTE = (
    f"{TOTAL}: mean over the organs of each column, also of Std., Min. and Max. "
    "Std.: sample standard deviation (n − 1), blank for one case. N: scored cases. "
    "Absent: cases with the organ in neither reference nor prediction, not scored. "
    "Missed: cases with the organ in the reference of which no voxel was found, scored as 0."
)


def text_rows(table: pd.DataFrame) -> list[list[str]]:
    """Return the cells of a `dice_table` as text: Dice with one decimal, counts whole, "" where undefined.

    >>> text_rows(pd.DataFrame([["liver", 96.54, None, 96.54, 96.54, 1, 0, 0.5]], columns=list(COLUMNS)))
    [['liver', '96.5', '', '96.5', '96.5', '1', '0', '0.5']]
    """
    return [[str(name), *map(_number, row[:4]), *map(_count, row[4:])] for name, *row in table.itertuples(index=False)]


def paper_tables(scores: pd.DataFrame) -> list[TextTable]:
    """Return the tables of Dice as in the paper, in the order of `TABLES`; one without a scored case has no rows."""
    tables = []
    for table in TABLES:
        frame = dice_table(scores, table.splits)
        counted = bool(len(frame)) and bool((frame["N"] + frame["Absent"]).max())
        rows = text_rows(frame) if counted else []
        title = f"Dice (%) of {table.cases}."
        tables.append(TextTable(name=table.name, title=title, note=_DICE_NOTE, columns=COLUMNS, rows=rows))
    return tables


def metric_table(table: Table, numbers: pd.DataFrame, interval: Interval = None) -> TextTable:
    """Return the wide table of the cases that `table` counts, from their `statistics`; no rows where there are none.

    Args:
        table: Which cases.
        numbers: Their statistics.
        interval: Of the mean Dice over the organs, 0 to 1.
    """
    columns, rows = _wide(numbers, interval)
    title = f"All metrics of {table.cases}."
    return TextTable(
        name=f"metrics_{table.which}", title=title, note=_metrics_note(numbers), columns=columns, rows=rows
    )


def beside_table(table: pd.DataFrame, title: str, note: str, name: str) -> TextTable:
    """Return a table from `published_beside` as text: Dice with one decimal, counts whole."""
    columns = tuple(map(str, table.columns))
    rows = [[str(organ), *map(_beside_cell, columns[1:], numbers)] for organ, *numbers in table.itertuples(index=False)]
    return TextTable(name=name, title=title, note=note, columns=columns, rows=rows, last_is_total=len(rows) > 1)


def _wide(numbers: pd.DataFrame, interval: Interval) -> tuple[tuple[str, ...], list[list[str]]]:
    metrics = [metric.name for metric in _in_table(map(metric_named, numbers["metric"].drop_duplicates()))]
    titles = [_title(metric) for metric in metrics]
    place = metrics.index("dice") + 1 if "dice" in metrics else 0
    columns = ("Organ", *titles[:place], *(("95 % CI", "Median") if place else ()), *titles[place:], "N")
    rows = []
    for _, organ in numbers.groupby("label", sort=True):
        by_metric = organ.set_index("metric")
        cells = [_mean_and_spread(by_metric, metric) for metric in metrics]
        if place:
            cells[place:place] = _of_dice(by_metric)
        count = f"{by_metric['n'].get('dice', 0):.0f}"
        rows.append([str(organ["organ"].iloc[0]), *cells, count])
    if rows:
        rows.append(_total(numbers, metrics, place, interval))
    return columns, rows


def _in_table(metrics: Iterable[Metric]) -> list[Metric]:
    """Return the metrics that the table has columns of, those without a better side last."""
    return sorted((m for m in metrics if m.in_table), key=lambda metric: metric.higher_is_better is None)


def _metrics_note(numbers: pd.DataFrame) -> str:
    """Return the explanation of the columns; metrics for some organs only are explained if they occur."""
    computed = set(numbers["metric"])
    metrics = _in_table(metric for metric in METRICS.values() if metric.only_for is None or metric.name in computed)
    return " ".join(
        [
            f"Mean ± sample standard deviation over the cases, with their number in brackets where it is less than N; "
            f"{INTERVAL_NOTE}.",
            *(metric.note for metric in metrics if metric.note),
            f"{OVER_ORGANS}: the mean of the means above.",
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
    count, of_dice = (_value(organ, name, "n") if name in organ.index else math.nan for name in (metric, "dice"))
    fewer = f" ({count:.0f})" if count < of_dice else ""  # where it is not of all of them
    return _text(metric, mean) + ("" if math.isnan(spread) else f" ± {_text(metric, spread)}") + fewer


def _of_dice(organ: pd.DataFrame) -> list[str]:
    if "dice" not in organ.index:
        return ["", ""]
    low, high, median = (_value(organ, "dice", name) for name in ("ci95_low", "ci95_high", "median"))
    interval = interval_text(None if math.isnan(low) else (low, high))
    return [interval, "" if math.isnan(median) else _text("dice", 100 * median)]


def interval_text(interval: Interval) -> str:
    """Return an interval of Dice, 0 to 1, in %; "" where there is none."""
    return "" if interval is None else f"{_text('dice', 100 * interval[0])} to {_text('dice', 100 * interval[1])}"


def _value(organ: pd.DataFrame, metric: str, name: str) -> float:
    return float(organ[name].to_numpy(dtype=float)[organ.index.get_loc(metric)])


def _total(numbers: pd.DataFrame, metrics: list[str], place: int, interval: Interval) -> list[str]:
    means = numbers.groupby("metric")["mean"].mean()
    signed = {name for name in metrics if metric_named(name).range[0] < 0}  # of unlike organs, it has no total
    absent = signed | {name for name in metrics if pd.isna(means[name])}
    cells = ["" if m in absent else _text(m, metric_named(m).factor * means[m]) for m in metrics]
    if place:
        medians = numbers.loc[numbers["metric"] == "dice", "median"]
        cells[place:place] = [
            interval_text(interval),
            "" if medians.isna().all() else _text("dice", 100 * medians.mean()),
        ]
    counts = numbers.loc[numbers["metric"] == "dice", "n"]
    count = counts[counts > 0].mean() if counts.any() else 0.0
    return [OVER_ORGANS, *cells, f"{count:.0f}" if float(count).is_integer() else f"{count:.1f}"]


def _text(metric: str, value: float) -> str:
    """Return a number with the decimals its metric deserves, a true minus sign, and no negative zero."""
    text = f"{value:.{metric_named(metric).decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def _beside_cell(column: str, value: float) -> str:
    decimals = 0 if column.removeprefix(PAPER) == "N" else 1
    return "" if math.isnan(value) else f"{value:.{decimals}f}"


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.1f}"


def _count(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"
