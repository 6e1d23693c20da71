"""One table of text, written for a spreadsheet, a README, a paper and a page: CSV, Markdown, LaTeX and HTML."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2

from autoseg.files import write_text
from autoseg.sheet import harmless

PAGE = 75  # characters of a small font that fit beside each other, two of them between columns
PAGE_ROWS = 36  # rows of it that fit below each other, with a caption
SUFFIXES = (".csv", ".md", ".tex", ".html")
_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "±": r"$\pm$",
    "…": r"\dots{}",
    "ρ": r"$\rho$",
}


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table as it is printed; the first column names the rows, all others are numbers."""

    name: str  # of its files, without suffix
    title: str
    note: str  # what the columns mean
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    last_is_total: bool = True  # whether a rule parts the last row from the others
    optional: Mapping[str, str] = field(
        default_factory=dict
    )  # columns that a paper does without where all are 0, notes

    @property
    def caption(self) -> str:
        """Title and note."""
        return f"{self.title} {self.note}".strip()


def write_text_table(table: TextTable, folder: Path) -> list[Path]:
    """Write a table into `folder`, made if missing, once a suffix of SUFFIXES; files are replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = (_csv(table), markdown_table(table), latex_table(table), _html(table))
    written = [folder / f"{table.name}{suffix}" for suffix in SUFFIXES]
    for file, text in zip(written, texts, strict=True):
        write_text(file, text)
    return written


def render_template(name: str, **values: Any) -> str:
    """Return a template of this room filled in; every text that goes in is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["css_text"] = css_text
    return environment.get_template(name).render(**values)


def css_text(text: str) -> str:
    r"""Return text for a string in a style sheet: what is no letter, digit or blank is written by its number.

    >>> css_text('a "b" 1')
    'a \\000022b\\000022 1'
    """
    return "".join(c if c.isalnum() or c == " " else f"\\{ord(c):06x}" for c in _one_line(text))


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return _one_line(re.sub(r"([\\|`*<\[])", r"\\\1", text))


def latex_text(text: str) -> str:
    r"""Return text that LaTeX prints as it is.

    >>> latex_text("5 %")
    '5 \\%'
    """
    escaped = "".join(_LATEX.get(character, character) for character in _one_line(text))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped  # after a row's end they would be an option


def _csv(table: TextTable) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([map(harmless, row) for row in (table.columns, *table.rows)])
    return text.getvalue()


def markdown_table(table: TextTable) -> str:
    """Return a table as Markdown, its caption above."""
    rule = ["---"] + ["---:"] * (len(table.columns) - 1)
    body = [[markdown_text(cell) for cell in row] for row in table.rows]
    head = [markdown_text(column) for column in table.columns]
    lines = ["| " + " | ".join(row) + " |" for row in (head, rule, *body)]
    return "\n".join([markdown_text(table.caption), "", *lines, ""])


def latex_table(table: TextTable) -> str:
    """Return a table as LaTeX (needs booktabs); one that is wider than a page in parts, one below the other.

    Parts that are longer than a page together are each a table of their own; rows are parted, too, where they must be.
    """
    table = _without_zeros(table)
    blocks = [table.rows[start : start + PAGE_ROWS] for start in range(0, len(table.rows), PAGE_ROWS)] or [[]]
    parts = [
        _latex_part(table, columns, rows, is_last=rows is blocks[-1]) for rows in blocks for columns in _parts(table)
    ]
    fit = len(parts) * (len(blocks[0]) + 2) <= PAGE_ROWS + 2
    floats = ["\n\\par\\medskip\n".join(parts)] if fit else parts
    lines = ["% needs \\usepackage{booktabs}"]
    for number, content in enumerate(floats):
        named = [
            rf"\caption{{{latex_text(table.caption)}}}",
            rf"\label{{tab:{re.sub(r'^table[0-9]_', '', table.name)}}}",
        ]
        continued = [rf"\par {latex_text(table.title)} (continued)\par\medskip"]
        lines += [
            r"\begin{table}",
            r"\centering",
            *(continued if number else named),
            r"\small",
            r"\setlength{\tabcolsep}{4pt}",
            content,
            r"\end{table}",
        ]
    return "\n".join([*lines, ""])


def _without_zeros(table: TextTable) -> TextTable:
    places = [
        place
        for place, column in enumerate(table.columns)
        if column not in table.optional or any(row[place] not in ("0", "") for row in table.rows)
    ]
    columns = tuple(table.columns[place] for place in places)
    note = table.note
    for sentence in (sentence for column, sentence in table.optional.items() if column not in columns):
        note = note.replace(f" {sentence}", "")
    return replace(table, note=note, columns=columns, rows=[[row[place] for place in places] for row in table.rows])


def _parts(table: TextTable) -> list[list[int]]:
    """Return the columns of each part that fits a page's width; the first column, which names the rows, is in all."""
    widths = [2 + max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
    parts, room = [[0]], PAGE - widths[0]
    for column, width in enumerate(widths[1:], start=1):
        if width > room and len(parts[-1]) > 1:
            parts.append([0])
            room = PAGE - widths[0]
        parts[-1].append(column)
        room -= width
    return parts


def _latex_part(table: TextTable, columns: Sequence[int], rows: Sequence[Sequence[str]], *, is_last: bool) -> str:
    cells = [[row[column] for column in columns] for row in (table.columns, *rows)]
    lines = [" & ".join(map(latex_text, row)) + r" \\" for row in cells]
    if rows and is_last and table.last_is_total:
        lines.insert(-1, r"\midrule")
    return "\n".join(
        [
            r"\begin{tabular}{l" + "r" * (len(columns) - 1) + "}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _html(table: TextTable) -> str:
    return render_template("table.html.jinja", table=table)


def _one_line(text: str) -> str:
    return " ".join(text.split())
