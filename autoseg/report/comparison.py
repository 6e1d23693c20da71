"""The report of a comparison: verdict, tables and figure, and the files that hold them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from autoseg.evaluation.compare import Comparison
from autoseg.figures.canvas import PRINTED, save_figure
from autoseg.figures.differences import Paired, differences_figure
from autoseg.files import atomic_path, replacing, write_text
from autoseg.report.formats import TextTable, latex_table, markdown_table, markdown_text
from autoseg.report.verdict import caveats, tables, verdict
from autoseg.sheet import harmless_frame

# files of a comparison; the text is always written
COMPARED, PUBLISHED, FIGURE, TEXT = "comparison.csv", "published.csv", "differences", "comparison.md"


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """A comparison with its verdict and tables."""

    comparison: Comparison
    tables: tuple[TextTable, ...]
    verdict: tuple[str, ...]  # a sentence each, the most general first
    notes: tuple[str, ...]  # caveats, a sentence or two each
    written: tuple[Path, ...] = ()


def comparison_report(comparison: Comparison, notes: Sequence[str] = ()) -> ComparisonReport:
    """Return a comparison with verdict and tables; `notes` come before its own caveats."""
    return ComparisonReport(
        comparison=comparison,
        tables=tables(comparison),
        verdict=verdict(comparison),
        notes=(*notes, *caveats(comparison)),
    )


def write_comparison(report: ComparisonReport, out: Path, keep: Collection[Path] = ()) -> ComparisonReport:
    """Write comparison.{csv,md,tex}, published table and figure into a folder; return the report with its files.

    Those that an earlier comparison has written there and this one does not are removed, but for those to `keep`.
    """
    files = [out / COMPARED, out / PUBLISHED, *(out / f"{FIGURE}{suffix}" for suffix in PRINTED)]
    kept = {file.resolve() for file in keep}
    with replacing([file for file in files if (out / TEXT).is_file() and file.resolve() not in kept]):
        return _write(report, out)


def _write(report: ComparisonReport, out: Path) -> ComparisonReport:
    comparison = report.comparison
    frames = {COMPARED: numbers(comparison)} if comparison.differences else {}
    if comparison.beside:
        frames[PUBLISHED] = pd.concat([table.assign(Source=own) for own, table in comparison.beside.items()])
    for name, frame in frames.items():
        with atomic_path(out / name) as beside:
            harmless_frame(frame).to_csv(beside, index=False)
    write_text(out / TEXT, _markdown(report))
    write_text(out / "comparison.tex", _latex(report))
    written = [*(out / name for name in frames), out / TEXT, out / "comparison.tex"]
    pictures = _picture(comparison, out) if comparison.differences else []
    return replace(report, written=(*written, *pictures))


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return the differences as numbers, not rounded, in the units of scores.csv; a row an organ and other source."""
    rows = [
        {
            "baseline": comparison.baseline,
            "other": row.other,
            "organ": row.organ,
            "metric": comparison.metric.name,
            "cases": len(row.cases),
            "baseline_mean": row.baseline_mean,
            "other_mean": row.other_mean,
            "difference": row.mean,
            "median_difference": row.median,
            "interval_low": row.interval[0] if row.interval else None,
            "interval_high": row.interval[1] if row.interval else None,
            "p": row.p,
            "p_holm": row.p_holm,
            "in_one_only": row.one_sided,
            "standing": row.standing,
        }
        for row in comparison.differences
    ]
    return pd.DataFrame(rows)


def _picture(comparison: Comparison, out: Path) -> list[Path]:
    metric = comparison.metric
    others: dict[str, dict[str, Paired]] = {}
    for row in comparison.differences:
        interval = row.interval and (row.interval[0] * metric.factor, row.interval[1] * metric.factor)
        values = [value * metric.factor for value in row.differences]
        others.setdefault(row.other, {})[row.organ] = Paired(values=values, interval=interval)
    unit = "percentage points" if metric.difference_unit == "points" else metric.difference_unit
    what = f"Difference of {metric.title} ({unit})"
    better = "right" if metric.higher_is_better else "left"
    return save_figure(differences_figure(others, comparison.baseline, what, better), out / FIGURE)


def _markdown(report: ComparisonReport) -> str:
    title = f"# {report.comparison.metric.title} compared with {report.comparison.baseline}"
    lines = [markdown_text(title), "", *(f"- {markdown_text(sentence)}" for sentence in report.verdict)]
    lines += ["", *(markdown_table(table) for table in report.tables)]
    return "\n".join([*lines, "Beside it:", "", *(f"- {markdown_text(note)}" for note in report.notes), ""])


def _latex(report: ComparisonReport) -> str:
    words = (f"% {' '.join(line.split())}" for line in (*report.verdict, *report.notes))
    return "\n".join([*map(latex_table, report.tables), *words, ""])
