"""The page of a report: one self-contained HTML file of summary, tables, pictures and provenance."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from autoseg.evaluation.cases import Doubt
from autoseg.evaluation.statistics import TABLES, TOTAL, dice_table
from autoseg.report.formats import TextTable, render_template
from autoseg.report.tables import CaseScores
from autoseg.words import counted

CHECK_COLUMNS = ("case", "file", "code", "severity", "found", "fix")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image with its caption and alternative text."""

    data: bytes
    media_type: Literal["image/png", "image/svg+xml", "image/webp"]
    caption: str
    alt: str  # for screen readers: what is drawn, and its message in numbers

    @property
    def source(self) -> str:
        """The image as a data URI."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The pictures of a report; those that cannot be drawn yet are None or missing."""

    curves: Picture | None = None
    boxes: Picture | None = None
    ceilings: Picture | None = None  # the Dice that the working grid allows beside what was reached
    agreement: Picture | None = None  # Bland-Altman of volumes
    surfaces: tuple[Picture, ...] = ()  # worst, median and best testing case
    organs: Mapping[str, tuple[Picture, ...]] = field(default_factory=dict)  # organ to worst, median and best case
    cases: Mapping[str, Picture] = field(default_factory=dict)  # case to its picture


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """The content of a report; parts that do not exist yet are None or empty."""

    title: str  # the dataset's name
    made: str  # date and time, as shown
    summary: tuple[str, ...]  # a paragraph each, as from `summary_of`
    missing: tuple[str, ...]  # a sentence for each thing that the run lacks, with the way to get it
    tables: tuple[TextTable, ...]  # training and testing, as from `tables.paper_tables`
    published: tuple[TextTable, ...]  # the same organs in the paper, where it has any
    metrics: tuple[TextTable, ...]  # as from `tables.metric_table`
    pictures: Pictures
    cases: tuple[CaseScores, ...]
    colours: Mapping[str, str]  # organ to #RRGGBB, as in every picture
    doubts: tuple[Doubt, ...] | None  # None: not known, as no training case is scored
    plan_text: str  # plan.md
    check_rows: tuple[Mapping[str, object], ...] | None  # keys CHECK_COLUMNS; None: the data was not checked
    environment: Mapping[str, str]  # name to version, as in {"python": "3.12.1"}
    hashes: Mapping[str, str]  # file to SHA-256
    commands: tuple[str, ...]  # that made the run, oldest first


def render_report(content: ReportContent) -> str:
    """Return the report as one HTML page: no script, style, font or image comes from outside it.

    Every text is escaped, so a label may be named `<script>`.
    """
    return render_template("report.html.jinja", content=content, check_columns=CHECK_COLUMNS)


def summary_of(scores: pd.DataFrame) -> tuple[str, ...]:
    """Return the result as paragraphs of a sentence or two.

    Args:
        scores: Long scores, as for `statistics.dice_table`.
    """
    cases = {table.which: scores.loc[scores["split"].isin(table.splits), "case"].nunique() for table in TABLES}
    if not any(cases.values()):
        return ("No case is scored yet: the training may still be running, or the run was not evaluated.",)
    summaries = {
        t.which: _summary_of_set(t.which, dice_table(scores, t.splits), cases[t.which])
        for t in TABLES
        if cases[t.which]
    }
    unknown = "No testing case is scored, so how the model does on patients it has not seen is not known."
    return (summaries.pop("testing", unknown), *summaries.values())


def _summary_of_set(what: str, table: pd.DataFrame, cases: int) -> str:
    count = counted(cases, f"{what} case")
    organs = table[(table["Organ"] != TOTAL) & table["Avg."].notna()]
    if organs.empty:
        return f"None of the organs is in the {count}, so there is no Dice."
    ranked = organs.sort_values("Avg.")
    best, worst = ranked.iloc[-1], ranked.iloc[0]
    mean = f"{organs['Avg.'].mean():.1f} %"
    if len(organs) == 1:
        text = f"In {count}, the mean Dice of {best['Organ']} is {mean}."
    else:
        text = (
            f"In {count}, the mean Dice over {len(organs)} organs is {mean}: "
            f"highest for {best['Organ']} ({best['Avg.']:.1f} %), lowest for {worst['Organ']} ({worst['Avg.']:.1f} %)."
        )
    if organs["Missed"].isna().any():
        return text
    missed = [f"{row['Organ']} in {row['Missed']:.0f}" for _, row in organs.iterrows() if row["Missed"]]
    return text + (f" Missed altogether: {', '.join(missed)}." if missed else " No organ was missed altogether.")
