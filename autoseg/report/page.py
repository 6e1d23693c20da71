"""The page of a report: one self-contained HTML file of summary, tables, pictures and provenance."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from autoseg.dataset.statements import FIELDS
from autoseg.evaluation.cases import Doubt
from autoseg.figures.canvas import size_of
from autoseg.report.case_scores import CaseScores
from autoseg.report.formats import TextTable, render_template
from autoseg.report.markdown import html_of

TALL_ROWS = 30  # of a table, from which it scrolls
MOST_ROWS = 10_000  # of the tables of single cases
FEW_CASES = 50  # that are shown at first, where there are more
MANY_COLOURS = 24  # from which their legend is folded
OPENED = 3  # cases, the worst, whose pictures are open and printed
ONE_PAGE = 15  # rows of a table that is not broken where it is printed
INTERVAL = "95 % CI"  # the column of confidence intervals
CHECK_COLUMNS = ("case", "file", "code", "severity", "found", "fix")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image with its caption and alternative text."""

    data: bytes
    media_type: Literal["image/png", "image/svg+xml", "image/webp"]
    caption: str
    alt: str  # for screen readers: what is drawn, and its message in numbers
    is_strip: bool = False  # whether it is slices on black, without a frame

    @property
    def look(self) -> str:
        """What the page sets it as: a "plot", "slices" on white, or a "strip" of slices on black."""
        return "plot" if self.media_type == "image/svg+xml" else "strip" if self.is_strip else "slices"

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels, so that the page keeps its place; None: not known."""
        return size_of(self.data)

    @property
    def source(self) -> str:
        """The image as a data URI in short lines, which browsers join: editors and searches choke on one long line."""
        return f"data:{self.media_type};base64,{base64.encodebytes(self.data).decode('ascii').rstrip()}"


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The pictures of a report; those that cannot be drawn yet are None or missing."""

    flow: Picture | None = None  # of patients and cases
    curves: Picture | None = None
    boxes: Picture | None = None
    ceilings: Picture | None = None  # the Dice that the working grid allows beside what was reached
    agreement: Picture | None = None  # Bland-Altman of volumes
    trust: Picture | None = None  # reliability curve, expected against true Dice, risk and coverage
    surfaces: tuple[Picture, ...] = ()  # worst, median and best testing case
    organs: Mapping[str, tuple[Picture, ...]] = field(default_factory=dict)  # organ to worst, median and best case
    cases: Mapping[str, Picture] = field(default_factory=dict)  # case to its picture


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """The content of a report; parts that do not exist yet are None or empty."""

    title: str  # the dataset's name
    made: str  # date and time, as shown
    summary: tuple[str, ...]  # a paragraph each, as from `summary.summary_of`
    missing: tuple[str, ...]  # a sentence for each thing that the run lacks, with the way to get it
    tables: tuple[TextTable, ...]  # testing and training, as from `performance.write_tables`
    published: tuple[TextTable, ...]  # the same organs in the paper, where it has any
    metrics: tuple[TextTable, ...]  # as from `performance.without_dice`
    review: Mapping[str, tuple[TextTable, ...]]  # section of the page to its tables, as from `review.review_tables`
    pictures: Pictures
    cases: tuple[CaseScores, ...]
    colours: Mapping[str, str]  # organ to #RRGGBB, as in every picture
    has_patients: bool  # whether the dataset names patients
    limits: tuple[str, ...]  # a sentence each, as from `limits.limits`
    statements: Mapping[str, str]  # key to what the dataset says of itself, as from `statements.statements`
    doubts: tuple[Doubt, ...] | None  # None: not known, as no training case is scored
    plan_text: str  # plan.md
    methods: Mapping[str, str]  # heading to paragraph, as from `methods.methods`
    check_rows: tuple[Mapping[str, object], ...] | None  # keys CHECK_COLUMNS; None: the data was not checked
    environment: Mapping[str, str]  # name to version, as in {"python": "3.12.1"}
    hashes: Mapping[str, str]  # file to SHA-256
    commands: tuple[str, ...]  # that made the run, oldest first


def _with_tables(content: ReportContent) -> set[str]:
    """Return the cases whose tables are in the page: all, or those with a picture where there are very many."""
    rows = sum(len(case.organs) for case in content.cases)
    return {case.case for case in content.cases if rows <= MOST_ROWS or case.case in content.pictures.cases}


def _detailed(content: ReportContent, with_tables: Collection[str]) -> set[str]:
    """Return the cases of which the page has more than a line: a table, a picture, or what other folds reach."""
    return {case.case for case in content.cases if case.others} | {*with_tables, *content.pictures.cases}


def _has_intervals(tables: Sequence[TextTable]) -> bool:
    """Return whether an organ's Dice in the first table, of the testing cases, has a confidence interval."""
    places = [(table, table.columns.index(INTERVAL)) for table in tables[:1] if INTERVAL in table.columns]
    return any(row[place] for table, place in places for row in table.rows)


def places_of(page: str) -> set[str]:
    """Return the anchors of a page, to which a link can lead.

    >>> places_of('<h2 id="scores">Scores</h2>')
    {'scores'}
    """
    return set(re.findall(r'<[^>]* id="([^"]+)"', page))


def render_report(content: ReportContent) -> str:
    """Return the report as one HTML page: no script, style, font or image comes from outside it.

    Every text is escaped, so a label may be named `<script>`.
    """
    plan, with_tables = html_of(content.plan_text), _with_tables(content)
    return render_template(
        "report.html.jinja",
        content=content,
        plan=plan,
        check_columns=CHECK_COLUMNS,
        few_cases=FEW_CASES,
        opened=OPENED,
        one_page=ONE_PAGE,
        all_train=not any(case.split == "testing" for case in content.cases),
        any_missed=any(case.missed for case in content.cases),
        has_intervals=_has_intervals(content.tables),
        tall_rows=TALL_ROWS,
        many_colours=MANY_COLOURS,
        with_tables=with_tables,
        detailed=_detailed(content, with_tables),
        fields=[field for field in FIELDS if field.key in content.statements],
    )
