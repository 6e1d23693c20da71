"""Tests of autoseg.report.performance: the page's tables of scores, by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from report_content import scores

from autoseg.evaluation.statistics import TABLES, statistics, total_interval
from autoseg.report.performance import performance_table, without_dice, write_tables
from autoseg.report.tables import metric_table
from autoseg.run import Run

# six cases; the vein is absent in the last two, and wholly missed in the first
LIVER, VEIN = (0.9, 0.8, 0.7, 0.9, 0.8, 0.7), (0.0, 0.4, 0.5, 0.3, None, None)
SIX = scores(
    *(
        (f"c{n}", "testing", organ, label, dice)
        for label, (organ, values) in enumerate({"liver": LIVER, "vein": VEIN}.items(), start=1)
        for n, dice in enumerate(values)
    )
)


def table_of(frame: pd.DataFrame) -> dict[str, list[str]]:
    table = TABLES[0]
    numbers = statistics(frame, table.splits)
    shown = performance_table(frame, table, numbers, total_interval(frame, table.splits, {}))
    assert len(set(shown.columns)) == len(shown.columns)
    return {row[0]: list(row[1:]) for row in shown.rows}


def test_the_last_row_holds_the_spread_of_the_cases_own_means() -> None:
    rows = table_of(SIX)
    assert list(rows) == ["liver", "vein", "Mean over organs"]
    # means of the cases: 45, 60, 60, 60, 80 and 70 %; their mean is 62.5, that of the organs (80 + 30) / 2 = 55
    n, mean, spread, interval, median, least, most, *_ = rows["Mean over organs"]
    assert (n, mean, spread, median, least, most) == ("6", "55.0", "11.7", "60.0", "45.0", "80.0")
    low, high = total_interval(SIX, TABLES[0].splits, {}) or (0.0, 0.0)
    assert interval == f"{100 * low:.1f} to {100 * high:.1f}"


def test_an_organ_has_its_number_of_cases_first_and_no_interval_from_few() -> None:
    rows = table_of(SIX)
    assert [rows["vein"][place] for place in (0, 1, 3, 4, 5, 6, 7)] == ["4", "30.0", "", "35.0", "0.0", "50.0", "2"]
    assert rows["liver"][:2] == ["6", "80.0"]
    assert " to " in rows["liver"][3]


def test_one_organ_needs_no_mean_over_organs_and_no_scored_case_has_no_row() -> None:
    assert list(table_of(scores(("a", "testing", "liver", 1, 0.9)))) == ["liver"]
    assert table_of(scores(("a", "training", "liver", 1, 0.9))) == {}


def test_the_other_metrics_do_not_repeat_the_dice() -> None:
    frame = pd.concat([SIX, SIX.assign(metric="hd95_mm", value=3.0)], ignore_index=True)
    wide = metric_table(TABLES[0], statistics(frame, TABLES[0].splits))
    others = without_dice(wide)
    assert others.columns == ("Organ", "N", "HD95 (mm)")
    assert list(others.rows[0]) == ["liver", "6", "3.0 ± 0.0"]
    assert "mean Dice" not in others.note


def test_files_have_the_columns_of_the_page_and_the_form_of_the_paper_where_it_is_set_beside(tmp_path: Path) -> None:
    run = Run(tmp_path)
    tables = write_tables(run, SIX, with_paper=False, dataset="abdomen")
    file = run.report.folder / "table2_testing.csv"
    assert tuple(file.read_text(encoding="utf-8").splitlines()[0].split(",")) == tables.page[0].columns
    assert tables.printed == tables.page
    assert tables.page[0].title == "Dice (%) of the testing cases of abdomen."
    assert write_tables(run, SIX, with_paper=False, dataset="cases").page[0].title == "Dice (%) of the testing cases."
    assert len(write_tables(run, SIX, with_paper=True).printed) == 2
    assert file.read_text(encoding="utf-8").splitlines()[0] == "Organ,Avg.,Std.,Min.,Max.,N,Absent,Missed"


def test_latex_has_the_interval_and_no_column_of_zeros_but_the_other_files_do(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_tables(run, SIX[SIX["organ"] == "liver"], with_paper=False)
    text = (run.report.folder / "table2_testing.tex").read_text(encoding="utf-8")
    assert text.count(r"\begin{tabular}") == 1
    assert "95 \\% CI" in text
    assert "Missed" not in text
    assert "Absent,Missed" in (run.report.folder / "table2_testing.csv").read_text(encoding="utf-8")
    write_tables(run, SIX, with_paper=False)
    assert "& Absent" in (run.report.folder / "table2_testing.tex").read_text(encoding="utf-8")


def test_the_title_of_a_cross_validation_says_which_network_saw_which_case(tmp_path: Path) -> None:
    folds = pd.concat([SIX.assign(fold=int(fold), split=side) for fold, side in ((0, "testing"), (1, "training"))])
    both = pd.concat([folds, folds.assign(fold=1 - folds["fold"], case=folds["case"] + "b")])
    testing, training = (table.title for table in write_tables(Run(tmp_path), both, with_paper=False).page)
    assert testing == ("Dice (%) of the testing cases, each predicted by the one of two networks that had not seen it.")
    assert training.endswith("cases, each with its mean over the networks that were made with it.")
