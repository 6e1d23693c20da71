"""Whether the scores of a run are those of its models, plan and split as they are now."""

from __future__ import annotations

import pandas as pd

from autoseg.dataset.origin import splits_of
from autoseg.errors import RunError
from autoseg.evaluation.scores import read_scores
from autoseg.metrics.registry import nsd_name
from autoseg.run import Run
from autoseg.words import counted

MOST_NAMED = 3  # files, in a sentence


def is_evaluated(run: Run, tolerance_mm: float | None = None) -> bool:
    """Return whether every case of every trained fold is scored, after models, plan and split were written.

    Args:
        run: With or without scores.
        tolerance_mm: Of the normalised surface Dice, which the scores must have; None: any.
    """
    if not run.scores_file.is_file() or _newer_than_scores(run):
        return False
    try:
        scores = read_scores(run.scores_file)
    except RunError:  # damaged, or of another version
        return False
    if tolerance_mm is not None and nsd_name(tolerance_mm) not in set(scores["metric"]):
        return False
    return not _unscored(run, scores)


def stale_scores(run: Run, scores: pd.DataFrame) -> list[str]:
    """Return why scores are not those of the run's models, as half a sentence each; none where they are."""
    newer = _newer_than_scores(run)
    unscored = _unscored(run, scores) if run.split_file.is_file() and run.folds() else []
    told = [f"the scores are older than {', '.join(newer)}"] if newer else []
    return [*told, *([f"not scored: {counted(len(unscored), 'case')} of trained folds"] if unscored else [])]


def _newer_than_scores(run: Run) -> list[str]:
    """Return the files that the scores should follow from and do not, as they were written later."""
    models = [run.fold(fold).model for fold in run.folds()]
    sources = [run.plan_file, run.split_file, *models, *run.cache.glob("*.json")]
    written = run.scores_file.stat().st_mtime_ns
    newer = [file for file in sources if file.is_file() and file.stat().st_mtime_ns > written]
    names = [file.relative_to(run.folder).as_posix() for file in newer]
    return names if len(names) <= MOST_NAMED else [*names[:MOST_NAMED], "…"]


def _unscored(run: Run, scores: pd.DataFrame) -> list[tuple[int, str]]:
    """Return the cases of trained folds that have no score, as (fold, case)."""
    splits = splits_of(run)
    scored = set(zip(scores["fold"], scores["case"], strict=True))
    wanted = [(fold, case) for fold in run.folds() if fold < len(splits) for case in splits[fold].cases()]
    return [pair for pair in wanted if pair not in scored]
