"""compare: RUNs and other methods against a first one; tables, a picture and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from autoseg.errors import RunError
from autoseg.evaluation.compare import Comparison, compare
from autoseg.evaluation.formats import TextTable, latex_table, markdown_table, markdown_text
from autoseg.evaluation.freshness import stale_scores
from autoseg.evaluation.scores import read_scores
from autoseg.evaluation.sources import ACCEPTED, open_sources
from autoseg.evaluation.verdict import caveats, tables, verdict
from autoseg.figures.canvas import save_figure
from autoseg.figures.differences import Paired, differences_figure
from autoseg.files import atomic_path, write_text
from autoseg.metrics.registry import comparable_metric
from autoseg.run import Run


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """A comparison as it is shown."""

    comparison: Comparison
    tables: tuple[TextTable, ...]
    verdict: tuple[str, ...]  # a sentence each, the most general first
    notes: tuple[str, ...]  # what to know beside it, a sentence or two each
    written: tuple[Path, ...] = ()


def compare_sources(names: Sequence[str], out: Path | None = None, metric: str = "dice") -> ComparisonReport:
    """Compare sources with the first of them, over the held-out cases that both have.

    Args:
        names: Two or more: a RUN, scores.csv, nnU-Net's summary.json, a table with a row a case, or "roth2018".
        out: Folder to write into, made if missing: comparison.{csv,md,tex}, and where cases were compared
            differences.{png,svg}, where a published table was set beside published.csv. None: nothing is written.
        metric: As in scores.csv.

    Raises:
        RunError: If a source cannot be read, or two have nothing in common.
    """
    if len(names) < 2:
        raise RunError(f"compare: needs two sources or more, got {len(names)}; {ACCEPTED}")
    if out is not None and out.exists() and not out.is_dir():
        raise RunError(f"--out {out}: is a file; name a folder")
    comparable_metric(metric)  # before anything is read
    first, *others = open_sources(names, metric)
    found = compare(first, others, metric)
    notes = (*_stale(names), *caveats(found))
    shown = ComparisonReport(comparison=found, tables=tables(found), verdict=verdict(found), notes=notes)
    return shown if out is None else replace(shown, written=tuple(_write(shown, out)))


def _stale(names: Sequence[str]) -> list[str]:
    """Return a sentence on each RUN whose scores are not those of its models."""
    runs = {name: Run(Path(name)) for name in names if Run(Path(name)).scores_file.is_file()}
    whys = {name: stale_scores(run, read_scores(run.scores_file)) for name, run in runs.items()}
    return [
        f"{name}: {', and '.join(why)}; run `autoseg evaluate {name}`, then compare again."
        for name, why in whys.items()
        if why
    ]


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


def _write(shown: ComparisonReport, out: Path) -> list[Path]:
    found = shown.comparison
    frames = {"comparison.csv": numbers(found)} if found.differences else {}
    if found.beside:
        frames["published.csv"] = pd.concat([table.assign(Source=own) for own, table in found.beside.items()])
    for name, frame in frames.items():
        with atomic_path(out / name) as beside:
            frame.to_csv(beside, index=False)
    write_text(out / "comparison.md", _markdown(shown))
    write_text(out / "comparison.tex", _latex(shown))
    written = [*(out / name for name in frames), out / "comparison.md", out / "comparison.tex"]
    return written + (_picture(found, out) if found.differences else [])


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
    return save_figure(differences_figure(others, comparison.baseline, what, better), out / "differences")


def _markdown(shown: ComparisonReport) -> str:
    title = f"# {shown.comparison.metric.title} compared with {shown.comparison.baseline}"
    lines = [markdown_text(title), "", *(f"- {markdown_text(sentence)}" for sentence in shown.verdict)]
    lines += ["", *(markdown_table(table) for table in shown.tables)]
    return "\n".join([*lines, "Beside it:", "", *(f"- {markdown_text(note)}" for note in shown.notes), ""])


def _latex(shown: ComparisonReport) -> str:
    words = (f"% {' '.join(line.split())}" for line in (*shown.verdict, *shown.notes))
    return "\n".join([*map(latex_table, shown.tables), *words, ""])
