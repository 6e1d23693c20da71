"""evaluate: a RUN's cases predicted on full volumes, and scored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from autoseg.dataset.load import load_dataset
from autoseg.dataset.origin import dataset_of, splits_of
from autoseg.digests import digest, remembered
from autoseg.errors import AutosegError, CasesFailedError, PlanError, RunError
from autoseg.evaluation.evaluate import evaluate as evaluate_folds
from autoseg.evaluation.evaluate import require_fitting, trained_folds
from autoseg.evaluation.external import evaluate_external
from autoseg.evaluation.external_source import note_source
from autoseg.evaluation.freshness import models_of, note_models
from autoseg.evaluation.stress import chosen, stress, write_stress
from autoseg.inference.opening import open_fold, open_model
from autoseg.network.device import pick_device
from autoseg.options import EvaluateOptions
from autoseg.pool import Track, untracked
from autoseg.run import ExternalFolder, Run
from autoseg.steps.crew import cluster_of

STRESSED = 10  # testing cases with changed images, over all folds


def evaluate(run: Run, options: EvaluateOptions, track: Track = untracked) -> int:
    """Predict and score the cases of every trained fold; return how many cases have scores.

    Raises:
        CasesFailedError: When all others are done, if some cases failed.
        LockedError: If another process writes to RUN.
    """
    for flag, value in (("--part", options.part), ("--cluster", options.cluster)):
        if value is not None and (options.stress or options.dataset is not None):
            raise PlanError(f"{flag}: is for the RUN's own cases; leave it out with --dataset and --stress")
    with run.locked("evaluate", options.part):
        return _evaluate(run, options, track)


def _evaluate(run: Run, options: EvaluateOptions, track: Track) -> int:
    if options.dataset is not None:
        return _evaluate_external(run, options.dataset, options, track)
    if options.stress:
        return _stress(run, options, track)
    dataset = {case.id: case for case in dataset_of(run).cases}
    of_run = run, splits_of(run), dataset
    with cluster_of(options.cluster, run.folder, device=options.device) as crew:
        device = pick_device(options.device if crew is None else "cpu")  # the workers have picked their own
        return evaluate_folds(*of_run, device, options.tolerance_mm, track, options.part, crew)


def scores_of(run: Run, options: EvaluateOptions) -> Path:
    """Return the file that an evaluation with these options writes its scores to."""
    if options.dataset is not None:
        return _external(run, options.dataset).scores_file
    return run.stress_file if options.stress else run.scores_file


def _external(run: Run, path: Path) -> ExternalFolder:
    """Return the folder of a dataset, called as the user calls its list or folder."""
    place = Path(os.path.abspath(path))
    return run.external(place.stem if _is_list(path) else place.parent.name if place.is_file() else place.name)


def _is_list(path: Path) -> bool:
    """Return whether a dataset is a list of cases: there may be several in a folder."""
    return path.suffix.lower() in (".csv", ".json") and path.name != "dataset.json"


def _evaluate_external(run: Run, path: Path, options: EvaluateOptions, track: Track) -> int:
    run.plan()
    dataset, folder = load_dataset(path), _external(run, path)
    model = open_model(run.folder, pick_device(options.device))
    note_source(folder, path if _is_list(path) else dataset.root, dataset)
    what = f"external {folder.folder.name}"
    try:
        with remembered(run.digests_file):
            models = digest(sorted(models_of(run).items()))
            cases = evaluate_external(model, dataset, folder, models, options.tolerance_mm, track)
    except CasesFailedError as error:
        if error.done:
            note_models(run, what)
        raise
    note_models(run, what)
    return cases


def _stress(run: Run, options: EvaluateOptions, track: Track) -> int:
    """Predict testing cases with changed images, each by the fold that tests it; return how many."""
    cases = {case.id: case for case in dataset_of(run).cases}
    splits = splits_of(run)
    folds = trained_folds(run, splits)
    most = max(1, STRESSED // len(folds))
    work = [(fold, name) for fold in folds for name in chosen(splits[fold].testing, most) if name in cases]
    if not work:
        raise RunError(
            f"{run.folder}: --stress changes testing cases, and its split has none; name some in a --split FILE, or "
            "plan without one: then a tenth of the cases tests"
        )
    for fold in folds:
        require_fitting(run, fold, open_fold(run, fold, "cpu"), splits[fold])
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    model, of_fold = None, None
    for fold, name in track(work, "Stressing", len(work)):
        if model is None or fold != of_fold:  # one at a time, as a fold may be two networks
            model = None
            model, of_fold = open_fold(run, fold, pick_device(options.device)), fold
        try:
            rows += stress(model, cases[name], fold)
        except AutosegError as error:
            failed[name] = str(error)
    if rows:
        write_stress(rows, run.stress_file)
        note_models(run, "stress")
    if failed:
        raise CasesFailedError("evaluate", failed, done=len(work) - len(failed))
    return len(work)
