"""The tables of scores, as files, terminal and page show them; in the paper's form where that is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd

from autoseg.evaluation.patients import NO_PATIENTS, Patients
from autoseg.evaluation.published import published_beside, published_note
from autoseg.evaluation.statistics import (
    OVER_ORGANS,
    TABLES,
    TOTAL,
    Table,
    by_case,
    dice_table,
    folds_of,
    statistics,
    total_interval,
)
from autoseg.files import atomic_path
from autoseg.metrics.registry import METRICS
from autoseg.report.formats import TextTable, write_text_table
from autoseg.report.page import INTERVAL
from autoseg.report.tables import INTERVAL_NOTE, Interval, beside_table, interval_text, metric_table, paper_tables
from autoseg.run import Run
from autoseg.sheet import harmless_frame
from autoseg.words import in_words

COLUMNS = ("Organ", "N", "Mean", "SD", INTERVAL, "Median", "Min.", "Max.", "Absent", "Missed")
OPTIONAL = {
    "Absent": "Absent: cases with the organ in neither reference nor prediction, not scored.",
    "Missed": "Missed: cases with the organ in the reference of which no voxel was found, scored as 0.",
}
NOTE = " ".join(
    [
        "SD: sample standard deviation. 95 % CI: bootstrap interval of the mean, where there are at least 5 cases.",
        f"{OVER_ORGANS}: the mean of the means above; its SD, median, minimum and maximum are of the cases' own means "
        "over their organs.",
        *OPTIONAL.values(),
    ]
)
OF_DICE = (f"{METRICS['dice'].title} ({METRICS['dice'].unit})", INTERVAL, "Median")  # columns of a wide table


@dataclass(frozen=True, kw_only=True)
class ScoreTables:
    """The tables of a run's scores."""

    printed: tuple[TextTable, ...]  # of Dice, testing first, as the files and the terminal have them
    published: tuple[TextTable, ...] = ()  # the same organs in the paper
    page: tuple[TextTable, ...] = ()  # of Dice, as the page shows them
    others: tuple[TextTable, ...] = ()  # of all metrics but Dice, for the page


def write_tables(
    run: Run, scores: pd.DataFrame, with_paper: bool, patients: Patients = NO_PATIENTS, dataset: str = ""
) -> ScoreTables:
    """Write all tables and statistics.csv, and return the tables.

    Args:
        run: Whose report they go into.
        scores: Long scores.
        with_paper: Whether to set the paper's tables beside the run's own, and to write these in its form.
        patients: Case to patient.
        dataset: Its name, for the titles.
    """
    numbers = [statistics(scores, table.splits, "original", patients) for table in TABLES]
    published = _published(scores) if with_paper else ()
    intervals = [total_interval(scores, table.splits, patients) for table in TABLES]
    named = [replace(table, cases=_in_words(scores, table, dataset)) for table in TABLES]
    wide = [metric_table(*parts) for parts in zip(named, numbers, intervals, strict=True)]
    page = tuple(performance_table(scores, *parts) for parts in zip(named, numbers, intervals, strict=True))
    printed = tuple(paper_tables(scores)) if with_paper else page
    for table in (*printed, *published, *wide):
        write_text_table(table, run.report.folder)
    on_working_grid = [statistics(scores, table.splits, "working", patients) for table in TABLES]
    frames = [
        frame.assign(cases=table.which, grid=grid)
        for grid, numbers_by_table in (("original", numbers), ("working", on_working_grid))
        for table, frame in zip(TABLES, numbers_by_table, strict=True)
    ]
    with atomic_path(run.report.statistics) as beside:
        harmless_frame(pd.concat(frames, ignore_index=True)).to_csv(beside, index=False, float_format="%.6g")
    return ScoreTables(
        printed=printed,
        published=published,
        page=page,
        others=tuple(map(without_dice, wide)),
    )


def _in_words(scores: pd.DataFrame, table: Table, dataset: str) -> str:
    """Return which cases a table counts, of which dataset, and which of several networks has predicted them."""
    folds = folds_of(scores, table.splits)
    of = f" of {dataset}" if dataset.casefold() not in ("", "cases") else ""  # as a CSV file of them is often called
    if table.which == "testing":
        by = f", each predicted by the one of {in_words(folds, 'network')} that had not seen it" if folds > 1 else ""
        return f"{table.cases}{of}{by}"
    how = (
        "each with its mean over the networks that were made with it" if folds > 1 else "with which the model was made"
    )
    return f"the training and validation cases{of}, {how}"


def performance_table(scores: pd.DataFrame, table: Table, numbers: pd.DataFrame, interval: Interval) -> TextTable:
    """Return the Dice of every organ as the page shows it; no rows where no case is scored.

    Args:
        scores: Long scores.
        table: Which cases.
        numbers: Their `statistics`.
        interval: Of the mean over the organs, 0 to 1.
    """
    frame = dice_table(scores, table.splits)
    of_dice = {str(row["organ"]): row for _, row in numbers[numbers["metric"] == "dice"].iterrows()}
    organs = frame[frame["Organ"] != TOTAL].set_index("Organ")
    rows = []
    for organ, row in organs.iterrows():
        own = of_dice.get(str(organ))
        ends = None if own is None or pd.isna(own["ci95_low"]) else (float(own["ci95_low"]), float(own["ci95_high"]))
        median = math.nan if own is None else 100 * float(own["median"])
        spread = [row["Avg."], row["Std."], ends, median, row["Min."], row["Max."]]
        rows.append([str(organ), _count(row["N"]), *map(_cell, spread), _count(row["Absent"]), _count(row["Missed"])])
    if len(rows) > 1 and organs["Avg."].notna().any():
        rows.append(_over_organs(scores, table, float(organs["Avg."].mean()), interval))
    is_scored = bool(len(organs)) and bool((organs["N"] + organs["Absent"]).max())
    return TextTable(
        name=table.name,
        title=f"Dice (%) of {table.cases}.",
        note=NOTE,
        columns=COLUMNS,
        rows=rows if is_scored else [],
        last_is_total=len(rows) > 1,
        optional=OPTIONAL,
    )


def without_dice(table: TextTable) -> TextTable:
    """Return the table of all metrics without what the page's table of Dice has."""
    last = len(table.columns) - 1  # N, which comes next to the organ: what is right of a phone's edge is not seen
    places = [0, last, *(n for n, column in enumerate(table.columns) if 0 < n < last and column not in OF_DICE)]
    return replace(
        table,
        title=table.title.replace("All metrics", "Further metrics"),
        note=table.note.replace(f"; {INTERVAL_NOTE}", ""),
        columns=tuple(table.columns[place] for place in places),
        rows=[[row[place] for place in places] for row in table.rows],
    )


def _over_organs(scores: pd.DataFrame, table: Table, mean: float, interval: Interval) -> list[str]:
    dice = by_case(scores, "dice", table.splits)
    means = 100 * pd.DataFrame(dice, dtype=float).mean(axis=1).dropna()
    spread = [mean, means.std(ddof=1), interval, means.median(), means.min(), means.max()]
    return [OVER_ORGANS, _count(float(len(means))), *map(_cell, spread), "", ""]


def _cell(value: float | Interval) -> str:
    if value is None or isinstance(value, tuple):
        return interval_text(value)
    return "" if math.isnan(value) else f"{value:.1f}"


def _count(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}"


def _published(scores: pd.DataFrame) -> tuple[TextTable, ...]:
    """Return the run's numbers beside the paper's, for the organs that both have."""
    tables = []
    for table in TABLES:
        beside = published_beside(dice_table(scores, table.splits), table.which)
        if beside is not None:
            title = f"Dice (%) of the {table.which} cases beside the paper's."
            tables.append(beside_table(beside, title, published_note(table.which), f"published_{table.which}"))
    return tuple(tables)
