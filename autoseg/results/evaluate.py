"""Evaluate a run: predict its cases on full volumes, score them on both grids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from autoseg.data.cache import CachedCase, read_cases
from autoseg.errors import AutosegError, CasesFailedError, ModelError
from autoseg.inference.models import MODEL_NAME
from autoseg.inference.predict import Model, label_values, open_model
from autoseg.inference.tiles import predict_probabilities
from autoseg.network.device import DeviceName
from autoseg.planning.split import Split
from autoseg.results.scores import Row, score_rows, write_scores
from autoseg.run import Run
from autoseg.volumes import read_label, write_label
from autoseg.workers import Track, untracked

SPLITS = ("training", "validation", "testing")


def evaluate(run: Run, splits: Sequence[Split], device: DeviceName, track: Track = untracked) -> list[Row]:
    """Predict and score the cases of every trained fold; write masks and scores.csv.

    A case is scored under the fold's split; under several folds a case has one row set a fold.

    Args:
        run: With cache and at least one trained fold.
        splits: One a fold.
        device: To predict on.
        track: Shows progress.

    Raises:
        ModelError: If no fold is trained.
        CasesFailedError: When all others are done and written, if some cases failed.
    """
    folds = run.folds()
    if not folds:
        raise ModelError(f"{run.folder}: no trained fold; run `autoseg train {run.folder}` first")
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for fold in folds:
        model = open_model(run.fold(fold) / MODEL_NAME, device)
        cases = [(split, case) for split in SPLITS for case in read_cases(run.cache, getattr(splits[fold], split))]
        out = run.fold(fold) / "predictions"
        for case_id, result in track(_scored(model, cases, out, fold), f"Evaluating fold {fold}", len(cases)):
            if isinstance(result, AutosegError):
                failed[case_id] = str(result)
            else:
                rows += result
    write_scores(rows, run.scores_file)
    if failed:
        raise CasesFailedError("evaluate", failed, done=len({row["case"] for row in rows}))
    return rows


def _scored(
    model: Model, cases: Sequence[tuple[str, CachedCase]], out: Path, fold: int
) -> Iterator[tuple[str, list[Row] | AutosegError]]:
    """Predict one case after another; score and write the one before meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[str, Future[list[Row]]] | None = None
        for split, case in cases:
            try:
                probabilities = predict_probabilities(model.networks, model.plan, case.image())
            except AutosegError as error:
                yield case.id, error
                continue
            future = pool.submit(
                _finish, model, case, probabilities, out, {"fold": fold, "case": case.id, "split": split}
            )
            if waiting is not None:
                yield _outcome(*waiting)
            waiting = case.id, future
        if waiting is not None:
            yield _outcome(*waiting)


def _outcome(case_id: str, future: Future[list[Row]]) -> tuple[str, list[Row] | AutosegError]:
    try:
        return case_id, future.result()
    except AutosegError as error:
        return case_id, error


def _finish(
    model: Model, case: CachedCase, probabilities: np.ndarray, out: Path, about: dict[str, object]
) -> list[Row]:
    plan = model.plan
    mask = label_values(probabilities, case.grid.shape, plan)
    write_label(out / f"{case.id}.nii.gz", mask, case.stored)
    truth = read_label(case.label_file)
    values = np.array([0, *(organ.value for organ in plan.labels)], dtype=np.uint16)
    coarse, coarse_truth = values[probabilities.argmax(axis=0)], values[case.label()]
    on = {"original": (mask, truth.array, case.grid), "working": (coarse, coarse_truth, case.working)}
    return [
        row
        for grid, (found, wanted, where) in on.items()
        for row in score_rows(found, wanted, plan.labels, where.spacing_mm, {**about, "grid": grid})
    ]
