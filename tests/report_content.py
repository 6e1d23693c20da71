"""A report's content that several tests share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

from autoseg.evaluation.statistics import TABLES, statistics
from autoseg.report.case_scores import case_scores
from autoseg.report.formats import TextTable
from autoseg.report.page import Picture, Pictures, ReportContent
from autoseg.report.summary import summary_of
from autoseg.report.tables import metric_table, paper_tables

SCORES = ["fold", "case", "split", "organ", "label", "metric", "value", "grid"]
DOT = Picture(data=b"\x89PNG", media_type="image/png", caption="Worst: case_1", alt="Outlines of the liver")


def scores(*rows: tuple[str, str, str, int, float | None]) -> pd.DataFrame:
    """Long scores from (case, split, organ, label, Dice)."""
    return pd.DataFrame(
        [[0, case, split, organ, label, "dice", dice, "original"] for case, split, organ, label, dice in rows],
        columns=SCORES,
    )


def content_of(
    frame: pd.DataFrame, review: Mapping[str, tuple[TextTable, ...]] = MappingProxyType({})
) -> ReportContent:
    return ReportContent(
        title="Abdomen",
        made="2024-05-06 07:08",
        summary=summary_of(frame),
        missing=(),
        tables=tuple(paper_tables(frame)),
        published=(),
        metrics=tuple(metric_table(table, statistics(frame, table.splits)) for table in TABLES),
        review=review,
        pictures=Pictures(
            curves=dataclasses.replace(DOT, data=b"<svg/>", media_type="image/svg+xml", caption="Curves"),
            surfaces=(DOT,),
            organs={"liver": (DOT,)},
            cases={"a": DOT},
        ),
        cases=case_scores(frame),
        colours={"liver": "#009E73"},
        has_patients=True,
        limits=("The patients were divided once.",),
        statements={"licence": "CC BY 4.0"},
        doubts=(),
        plan_text="# Plan\ncrop 64 < 128",
        methods={"Network": "A 3D U-Net."},
        check_rows=(),
        environment={"python": "3.12.1"},
        hashes={"plan.json": "ab12"},
        commands=("autoseg plan DATA RUN --set name='a b'", "autoseg train RUN"),
    )
