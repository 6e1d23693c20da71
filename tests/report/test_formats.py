"""Tests of autoseg.report.formats: a table in four forms, each of which reads as it should."""

from __future__ import annotations

import csv
import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from autoseg.evaluation.statistics import (
    COLUMNS,
    TABLES,
    dice_table,
    statistics,
)
from autoseg.report.formats import TextTable, latex_table, write_text_table
from autoseg.report.tables import metric_table, paper_tables

SCORES = ["fold", "case", "split", "organ", "label", "metric", "value", "grid"]


def dice_row(case: str, organ: str, label: int, value: float | None, split: str = "testing") -> list[object]:
    return [0, case, split, organ, label, "dice", value, "original"]


def missed_row(case: str, organ: str, label: int, value: int) -> list[object]:
    return [0, case, "testing", organ, label, "missed", value, "original"]


def frame(*rows: list[object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=SCORES)


# liver: 0.9, 0.8, 0.7; vein: 0.5, missed in b, absent in c
THREE_CASES = frame(
    dice_row("a", "vein", 2, 0.5),
    dice_row("a", "liver", 1, 0.9),
    dice_row("b", "vein", 2, 0.0),
    dice_row("b", "liver", 1, 0.8),
    dice_row("c", "vein", 2, None),
    dice_row("c", "liver", 1, 0.7),
    *(missed_row(case, "liver", 1, 0) for case in "abc"),
    *(missed_row(case, "vein", 2, int(case == "b")) for case in "abc"),
)


def write_tables(scores: pd.DataFrame, folder: Path) -> list[Path]:
    return [file for table in paper_tables(scores) for file in write_text_table(table, folder)]


def test_tables_are_written_four_ways_and_nothing_is_left_beside(tmp_path: Path) -> None:
    written = write_tables(THREE_CASES, tmp_path / "report")
    names = ("table1_training", "table2_testing")
    expected = {f"{table}.{kind}" for table in names for kind in ("csv", "md", "tex", "html")}
    assert {file.name for file in written} == expected
    assert {file.name for file in (tmp_path / "report").iterdir()} == expected


def test_csv_reads_back(tmp_path: Path) -> None:
    write_tables(frame(dice_row("a", 'left, "upper" lobe', 1, 0.9)), tmp_path)
    with (tmp_path / "table2_testing.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(COLUMNS)
    assert rows[1][:2] == ['left, "upper" lobe', "90.0"]


def test_pandas_reads_the_same_numbers_from_the_csv(tmp_path: Path) -> None:
    write_tables(THREE_CASES, tmp_path)
    read = pd.read_csv(tmp_path / "table2_testing.csv")
    table = dice_table(THREE_CASES, ["testing"])
    assert list(read.columns) == list(COLUMNS)
    for column in COLUMNS[1:]:
        assert read[column].tolist() == pytest.approx(table[column].round(1).tolist())


def test_the_html_table_is_escaped_and_keeps_the_total_in_its_foot(tmp_path: Path) -> None:
    write_tables(frame(dice_row("a", "<script>", 1, 0.9)), tmp_path)
    text = (tmp_path / "table2_testing.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert re.search(r"<tfoot>\s*<tr><th scope=\"row\">Total Avg\.", text)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("wide", [False, True])
def test_the_latex_compiles(tmp_path: Path, wide: bool) -> None:
    odd = frame(
        dice_row("a", "[old] *liver", 3, 0.8),
        dice_row("a", "left_lung & 100% \\^~ {x} $y$ #é ± − <>|", 1, 0.9),
        dice_row("b", "vein", 2, None),
    )
    tables = [metric_table(t, statistics(odd, t.splits)) for t in TABLES] if wide else paper_tables(odd)
    columns = tables[0].columns
    if wide:  # more columns than fit on a page
        columns = (*columns, *(f"{letter} of something" for letter in "abcdefgh"))
    rows = [[*row, *["1.0"] * (len(columns) - len(row))] for row in tables[0].rows]
    write_text_table(dataclasses.replace(tables[0], columns=columns, rows=rows), tmp_path)
    name = tables[0].name
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs}"
    document = rf"\documentclass{{article}}{packages}\begin{{document}}\input{{{name}}}\end{{document}}"
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert b"Overfull" not in done.stdout


def test_markdown_escapes_pipes(tmp_path: Path) -> None:
    write_tables(frame(dice_row("a", "a|b", 1, 0.9)), tmp_path)
    text = (tmp_path / "table2_testing.md").read_text(encoding="utf-8")
    assert "| a\\|b | 90.0 |  | 90.0 | 90.0 | 1 | 0 |  |\n" in text


def test_latex_escapes_names_and_sets_the_total_apart(tmp_path: Path) -> None:
    write_tables(frame(dice_row("a", "left_lung & 100% \\^~", 1, 0.9)), tmp_path)
    text = (tmp_path / "table2_testing.tex").read_text(encoding="utf-8")
    name = r"left\_lung \& 100\% \textbackslash{}\textasciicircum{}\textasciitilde{}"
    total = r"Total Avg. & 90.0 &  & 90.0 & 90.0 & 1 & 0 &  \\"
    assert f"{name} & 90.0 &  & 90.0 & 90.0 & 1 & 0 &  \\\\\n\\midrule\n{total}\n\\bottomrule" in text
    assert r"Dice (\%)" in text


def test_a_table_wider_than_a_page_is_printed_in_parts_that_all_name_the_rows() -> None:
    columns = ("Organ", *(f"{letter * 34}" for letter in "abc"))
    table = TextTable(name="t", title="T.", note="", columns=columns, rows=[["liver", "1", "2", "3"]])
    text = latex_table(table)
    assert text.count(r"\begin{tabular}{lr}") == 3
    assert text.count("liver & ") == 3
    assert text.count(r"\caption") == 1


def test_the_training_caption_says_that_the_model_knows_these_cases(tmp_path: Path) -> None:
    write_tables(THREE_CASES, tmp_path)
    assert "the training and validation cases, with which the model was made" in (
        tmp_path / "table1_training.md"
    ).read_text("utf-8")


def test_a_table_without_a_scored_case_has_no_rows() -> None:
    testing, training = paper_tables(THREE_CASES)
    assert training.rows == []
    assert len(testing.rows) == 3


def test_no_scores_still_write_valid_files(tmp_path: Path) -> None:
    write_tables(frame(), tmp_path)
    assert (tmp_path / "table2_testing.csv").read_text(encoding="utf-8") == ",".join(COLUMNS) + "\n"


def test_a_table_longer_than_a_page_is_several_and_its_total_stands_in_the_last() -> None:
    rows = [[f"organ {n}", "1.0"] for n in range(50)] + [["Total Avg.", "1.0"]]
    long = TextTable(name="t", title="Long.", note="", columns=("Organ", "Dice"), rows=rows)
    text = latex_table(long)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert text.count(r"\caption") == text.count("(continued)") == 1
    assert text.count(r"\midrule") == 3  # below each head, and above the total
    assert text.index("organ 35 ") < text.index("(continued)") < text.index("organ 36 ")
    wide = TextTable(name="t", title="W.", note="", columns=("Organ", *"abcdefgh"), rows=[["x", *["1" * 20] * 8]] * 13)
    assert latex_table(wide).count(r"\begin{table}") > 1


def test_a_greek_letter_is_set_as_mathematics() -> None:
    assert r"$\rho$" in latex_table(TextTable(name="t", title="ρ", note="", columns=("Organ",), rows=[["x"]]))
