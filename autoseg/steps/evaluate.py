"""evaluate: a RUN's cases predicted on full volumes, and scored."""

from __future__ import annotations

from autoseg.dataset.origin import dataset_of, splits_of
from autoseg.evaluation.evaluate import evaluate as evaluate_folds
from autoseg.network.device import pick_device
from autoseg.options import EvaluateOptions
from autoseg.pool import Track, untracked
from autoseg.run import Run


def evaluate(run: Run, options: EvaluateOptions, track: Track = untracked) -> int:
    """Predict and score the cases of every trained fold; return how many cases have scores.

    Raises:
        CasesFailedError: When all others are done, if some cases failed.
        LockedError: If another process writes to RUN.
    """
    with run.locked("evaluate"):
        return _evaluate(run, options, track)


def _evaluate(run: Run, options: EvaluateOptions, track: Track) -> int:
    labels = {case.id: case.label for case in dataset_of(run).cases}
    rows = evaluate_folds(run, splits_of(run), labels, pick_device(options.device), options.tolerance_mm, track)
    return len({row["case"] for row in rows})
