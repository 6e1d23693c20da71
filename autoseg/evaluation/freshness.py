"""Whether the scores of a run are those of its models, plan and split as they are now."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from autoseg.data.preprocess import plan_digest
from autoseg.dataset.origin import splits_of
from autoseg.digests import file_digest, note_sources, noted_sources, remembered
from autoseg.errors import RunError
from autoseg.evaluation.scores import read_scores
from autoseg.metrics.registry import nsd_name
from autoseg.run import Run
from autoseg.words import counted

MOST_NAMED = 3  # files, in a sentence


SCORES = "scores"  # the name under which their sources are noted


def is_evaluated(run: Run, tolerance_mm: float | None = None) -> bool:
    """Return whether every case of every trained fold is scored, by models, plan, split and cases as they are now.

    Args:
        run: With or without scores.
        tolerance_mm: Of the normalised surface Dice, which the scores must have; None: any.
    """
    if not run.scores_file.is_file() or _changed_sources(run) or _is_edited(run):
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
    changed = _changed_sources(run)
    names = changed if len(changed) <= MOST_NAMED else [*changed[:MOST_NAMED], "…"]
    unscored = _unscored(run, scores) if run.split_file.is_file() and run.folds() else []
    return [
        *([f"the scores are older than {', '.join(names)}"] if names else []),
        *([f"not scored: {counted(len(unscored), 'case')} of trained folds"] if unscored else []),
    ]


def score_sources(run: Run) -> dict[str, str]:
    """Return what the scores of a run follow from: the name of each file in RUN, with its digest.

    Of the plan, only what the cached cases and the models share with it counts.
    """
    files = [run.split_file, *sorted(run.cache.glob("*.json"))]
    digests = {_name(run, file): file_digest(file) for file in files if file.is_file()}
    models = [score_sources_of_fold(run, fold) for fold in run.folds()]
    return {_name(run, run.plan_file): plan_digest(run.plan())} | dict(ChainMap(*models)) | digests


def score_sources_of_fold(run: Run, fold: int) -> dict[str, str]:
    """Return what the scores of one fold follow from beside, as `score_sources` does."""
    file = run.fold(fold).model
    return {_name(run, file): file_digest(file)}


def note_score_sources(run: Run, sources: Mapping[str, str]) -> None:
    """Note what the scores that are written now follow from."""
    note_sources(run.digests_file, SCORES, {**sources, _name(run, run.scores_file): file_digest(run.scores_file)})


def _changed_sources(run: Run) -> list[str]:
    """Return the files that the scores should follow from and do not."""
    noted = noted_sources(run.digests_file, SCORES)
    if noted is None:  # scores of before digests
        return _newer_than_scores(run)
    with remembered(run.digests_file):
        return [name for name, found in score_sources(run).items() if noted.get(name) != found]


def _is_edited(run: Run) -> bool:
    """Return whether scores.csv is another than the one that was written last."""
    noted = noted_sources(run.digests_file, SCORES)
    return noted is not None and noted.get(_name(run, run.scores_file)) != file_digest(run.scores_file)


def _newer_than_scores(run: Run) -> list[str]:
    """Return the files that were written later than the scores, as runs of before digests tell them apart."""
    models = [run.fold(fold).model for fold in run.folds()]
    written = run.scores_file.stat().st_mtime_ns
    sources = [run.plan_file, run.split_file, *models, *run.cache.glob("*.json")]
    return [_name(run, file) for file in sources if file.is_file() and file.stat().st_mtime_ns > written]


def _name(run: Run, file: Path) -> str:
    return file.relative_to(run.folder).as_posix()


def _unscored(run: Run, scores: pd.DataFrame) -> list[tuple[int, str]]:
    """Return the cases of trained folds that have no score, as (fold, case)."""
    splits = splits_of(run)
    scored = set(zip(scores["fold"], scores["case"], strict=True))
    wanted = [(fold, case) for fold in run.folds() if fold < len(splits) for case in splits[fold].cases()]
    return [pair for pair in wanted if pair not in scored]
