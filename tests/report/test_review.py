"""Tests of autoseg.report.review: the list of tables that a reviewer asks for."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from report_content import content_of, scores

from autoseg.dataset.split import Split
from autoseg.evaluation.records import PATIENT
from autoseg.report.page import render_report
from autoseg.report.review import REVIEW, Evidence, ReviewTable, review_tables

FRAME = scores(*((f"c{n}", "testing", "liver", 1, 0.5 + n / 20) for n in range(6)))
EVIDENCE = Evidence(
    scores=FRAME,
    records=pd.DataFrame({PATIENT: list("pqrstu"), "sex": ["F", "M"] * 3}, index=[f"c{n}" for n in range(6)]),
    splits=(Split(training=(), validation=(), testing=tuple(f"c{n}" for n in range(6))),),
    check=(),
    excluded=(),
)


def test_each_table_stands_in_its_section_of_the_page_under_its_name() -> None:
    sections = review_tables(EVIDENCE)
    names = [table.name for tables in sections.values() for table in tables]
    assert names == ["flow", "characteristics", "subgroups", "gaps", "detectable"]
    page = render_report(content_of(FRAME, review=sections))
    assert all(f'<caption id="{name}">' in page for name in names)
    assert page.index('id="patients"') < page.index('id="flow"') < page.index('id="scores"') < page.index('id="gaps"')


def test_numbers_are_shown_as_a_radiologist_reads_them() -> None:
    table = ReviewTable(
        name="t", section="scores", title="T.", note="", decimals={"p": 3},
        frame=lambda _: pd.DataFrame([["liver", 1250.04, 0.0004, 3, -0.04, None]], columns=["Organ", *"vpNdx"]),
    )  # fmt: skip
    (shown,) = review_tables(EVIDENCE, (table,))["scores"]
    assert shown.rows == [["liver", "1250.0", "0.000", "3", "0.0", ""]]


def test_a_run_without_results_has_no_such_table() -> None:
    nothing = Evidence(scores=FRAME.iloc[:0], records=EVIDENCE.records.iloc[:0], splits=(), check=(), excluded=())
    assert review_tables(nothing) == {}
    assert len({table.name for table in REVIEW}) == len(REVIEW)


def test_an_organ_without_a_testing_case_has_no_row_and_stops_no_table() -> None:
    metrics = ("dice", "expected_dice", "first_dice", "first_ceiling_dice", "ceiling_dice", "hd95_mm", "volume_ml")
    rows = [
        [0, case, split, organ, label, metric, 0.5 + number / 50, "original"]
        for number, (case, split) in enumerate([(f"c{n}", "testing") for n in range(6)] + [("t", "training")])
        for organ, label in (("liver", 1), ("vein", 2)) if organ == "liver" or split == "training"
        for metric in metrics
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(FRAME.columns))
    sections = review_tables(replace(EVIDENCE, scores=frame, readers=frame[frame["organ"] == "liver"]))
    tables = {table.name: table for of_section in sections.values() for table in of_section}
    assert [row[0] for row in tables["expected"].rows] == ["liver"]
    assert [row[0] for row in tables["observers"].rows] == ["liver"]
