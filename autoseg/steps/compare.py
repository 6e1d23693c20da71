"""compare: RUNs and other methods against a first one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autoseg.errors import RunError
from autoseg.evaluation.compare import compare
from autoseg.evaluation.freshness import stale_scores
from autoseg.evaluation.scores import read_scores
from autoseg.evaluation.sources import ACCEPTED, open_sources
from autoseg.metrics.registry import comparable_metric
from autoseg.report.comparison import ComparisonReport, comparison_report, write_comparison
from autoseg.run import Run


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
    report = comparison_report(compare(first, others, metric), _stale(names))
    return report if out is None else write_comparison(report, out, keep=[*map(Path, names)])


def _stale(names: Sequence[str]) -> list[str]:
    """Return a sentence on each RUN whose scores are not those of its models."""
    places = {name: Run(Path(name) if Path(name).is_dir() else Path(name).parent) for name in names}
    runs = {name: run for name, run in places.items() if Path(name) in (run.folder, run.scores_file)}
    runs = {name: run for name, run in runs.items() if run.plan_file.is_file() and run.scores_file.is_file()}
    whys = {name: stale_scores(run, read_scores(run.scores_file)) for name, run in runs.items()}
    return [
        f"{name}: {', and '.join(why)}; run `autoseg evaluate {runs[name].folder}`, then compare again."
        for name, why in whys.items()
        if why
    ]
