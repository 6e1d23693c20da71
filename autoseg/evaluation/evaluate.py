"""Evaluate a run: predict its cases on full volumes, score them on both grids."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.data.cache import CachedCase, read_cases
from autoseg.data.preprocess import plan_digest
from autoseg.dataset.fingerprint import load_fingerprint
from autoseg.dataset.load import Case
from autoseg.dataset.split import SIDES, Split
from autoseg.digests import code_digest, digest, files_digest, remembered
from autoseg.errors import AutosegError, CasesFailedError, ModelError, VolumeError
from autoseg.evaluation.freshness import ScoreJournal, note_score_sources, score_sources, score_sources_of_fold
from autoseg.evaluation.postprocessing import with_postprocessing
from autoseg.evaluation.reliability import reliability_rows, write_reliability
from autoseg.evaluation.scores import FIRST_CEILING, FIRST_DICE, Row, score_rows, write_scores
from autoseg.evaluation.two_stages import second_look
from autoseg.imaging.grid import Grid, working_shape
from autoseg.imaging.volumes import read_image, read_label, write_label
from autoseg.inference.model import MASK_CODE, Model, open_fold
from autoseg.inference.postprocess import apply_rules
from autoseg.inference.second_stage import Original
from autoseg.inference.upsample import Upsampler
from autoseg.labels import IGNORED, Atoms, Label
from autoseg.metrics import TOLERANCE_MM
from autoseg.metrics.overlap import dice
from autoseg.metrics.registry import METRICS
from autoseg.network.build import plan_of
from autoseg.network.device import DeviceName
from autoseg.network.weights import MODEL, read_facts
from autoseg.planning.ceiling import ceilings
from autoseg.pool import Track, untracked
from autoseg.run import FoldFolder, Run
from autoseg.words import counted

logger = logging.getLogger(__name__)
CODE = (
    *MASK_CODE,
    "metrics",
    "evaluation/evaluate.py",
    "evaluation/scores.py",
    "evaluation/reliability.py",
    "planning/ceiling.py",
)


def evaluate(
    run: Run,
    splits: Sequence[Split],
    dataset: Mapping[str, Case],
    device: DeviceName,
    tolerance_mm: float = TOLERANCE_MM,
    track: Track = untracked,
) -> int:
    """Predict and score the cases of every trained fold; write masks, scores.csv and reliability.csv.

    A case is scored once per fold, under that fold's split. Rows are taken from the folds' journals when they are
    written, and are never all in memory.

    Args:
        run: With cache and at least one trained fold.
        splits: One a fold.
        dataset: Case id to its files.
        device: To predict on.
        tolerance_mm: Of the normalised surface Dice.
        track: Shows progress.

    Returns:
        How many cases have scores.

    Raises:
        ModelError: If no fold is trained, or one was trained under another plan or on testing cases.
        CasesFailedError: When all others are done and written, if some cases failed.
    """
    folds = run.folds()
    if not folds:
        raise ModelError(f"{run.folder}: no trained fold; run `autoseg train {run.folder}` first")
    if folds[-1] >= len(splits):
        last = run.fold(folds[-1]).folder
        raise ModelError(f"{last}: the split has only {counted(len(splits), 'fold')}; remove the folder")
    scored: list[_Scored] = []
    failed: dict[str, str] = {}
    with remembered(run.digests_file):
        noted = score_sources(run)  # before they are read
        for fold in folds:
            evaluation, cases = _open_fold(run, fold, splits[fold], dataset, device, tolerance_mm)
            noted |= score_sources_of_fold(run, fold)
            sides = {case.id: side for side, case in cases}
            for case_id, error in track(_scored(evaluation, cases), f"Evaluating fold {fold}", len(cases)):
                if error is not None:
                    failed[case_id] = str(error)
                else:
                    scored.append(_Scored(fold, sides[case_id], case_id, evaluation.journal))
            write_reliability(
                (row for one in scored for row in one.journal.reliability(one.case)), run.reliability_file
            )
            write_scores((row for one in _in_order(scored) for row in one.journal.scored(one.case)), run.scores_file)
        note_score_sources(run, noted)
    count = len({one.case for one in scored})
    if failed:
        raise CasesFailedError("evaluate", failed, done=count)
    return count


@dataclass(frozen=True)
class _Scored:
    """A case that has scores, and where they are."""

    fold: int
    side: str
    case: str
    journal: ScoreJournal


def _in_order(scored: Sequence[_Scored]) -> list[_Scored]:
    """Return cases by fold, then side, training first, as scores.csv has them."""
    return sorted(scored, key=lambda one: (one.fold, SIDES.index(one.side)))


def _open_fold(
    run: Run, fold: int, split: Split, dataset: Mapping[str, Case], device: DeviceName, tolerance_mm: float
) -> tuple[_Evaluation, list[tuple[str, CachedCase]]]:
    """Open a fold's model, postprocessing fitted, and its cached cases, each with its side of the split."""
    file, settings = run.fold(fold).model, plan_digest(plan_of(run))
    model = open_fold(run, fold, device)
    _require_fitting(run, fold, model, split)
    validation = read_cases(run.cache, split.validation, settings)
    model = with_postprocessing(file, model, validation, dataset, load_fingerprint(run.fingerprint_file))
    sides = reversed(split.sides().items())  # testing cases first: they are what one waits for
    cases = [(side, case) for side, ids in sides for case in read_cases(run.cache, ids, settings)]
    _warn_of_tolerance([case.grid for _, case in cases], tolerance_mm)
    evaluation = _Evaluation(
        model=model,
        digest=read_facts(file, MODEL)["sha256"] + model.later_digest,
        dataset=dataset,
        fold=fold,
        files=run.fold(fold),
        tolerance_mm=tolerance_mm,
        journal=ScoreJournal(run.fold(fold).evaluated),
    )
    return evaluation, cases


def _require_fitting(run: Run, fold: int, model: Model, split: Split) -> None:
    for number, (stage, plan) in enumerate(zip(model.stages, run.plan().stages, strict=True)):
        file = run.stage(number).fold(fold).model
        if plan_digest(stage.plan) != plan_digest(plan):
            raise ModelError(
                f"{file}: was trained under another plan; remove {file.parent} and run `autoseg train` again"
            )
    file = run.fold(fold).model
    leaked = sorted(model.trained_on & set(split.testing))
    if leaked:
        cases = f"{counted(len(leaked), 'case')} of the present testing side ({leaked[0]} …)"
        raise ModelError(
            f"{file}: was trained on {cases}, as the split changed; remove {file.parent} and run `autoseg train` again"
        )


def _warn_of_tolerance(grids: Sequence[Grid], tolerance_mm: float) -> None:
    """Warn if voxels are too large for the tolerance of the normalised surface Dice."""
    edges_mm = [min(grid.spacing_mm) for grid in grids if min(grid.spacing_mm) > tolerance_mm]
    if edges_mm:
        logger.warning(
            "NSD at %g mm: in %d of %s every edge of a voxel is longer (%.3g mm and more), so borders that lie one "
            "voxel apart count as missed; --tolerance %g or more says more",
            tolerance_mm, len(edges_mm), counted(len(grids), "case"), min(edges_mm), math.ceil(max(edges_mm)),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """The settings shared by all cases of a fold."""

    model: Model
    digest: str  # of the model file, postprocessing included
    dataset: Mapping[str, Case]
    fold: int
    files: FoldFolder  # which the masks go to
    tolerance_mm: float
    journal: ScoreJournal  # cases scored by an earlier evaluation

    def mask(self, case: CachedCase) -> Path:
        """Return the file of a case's predicted label map."""
        return self.files.prediction(case.id)

    def sources(self, case: CachedCase, split: str) -> str:
        """Return a digest of everything that a case's rows depend on."""
        truth = self.dataset[case.id].label_files if case.id in self.dataset else ()
        how = (tuple(METRICS), self.model.runs, self.tolerance_mm)
        return digest(files_digest(truth), self.digest, how, split, case.record_digest, code_digest(*CODE))

    def original(self, case: CachedCase) -> Original | None:
        """Return the image of a case with its truth, for a second stage; None where the dataset has it no more."""
        source, scheme = self.dataset.get(case.id), self.model.plan.scheme
        if source is None:
            return None

        def truth() -> Atoms:
            return scheme.encode(read_label(source.label_files, case.grid, scheme).array, case.id)

        return Original(read=lambda: read_image(source.images), truth=truth)


def _scored(
    evaluation: _Evaluation, cases: Sequence[tuple[str, CachedCase]]
) -> Iterator[tuple[str, AutosegError | None]]:
    """Predict one case after another, scoring and writing the previous one meanwhile; yield what kept it from that."""
    model = evaluation.model
    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[str, Future[None]] | None = None
        for split, case in cases:
            sources = evaluation.sources(case, split)  # before the label map is read: it may be edited meanwhile
            if evaluation.journal.rows(case.id, sources, evaluation.mask(case)) is not None:
                if waiting is not None:
                    yield _outcome(*waiting)
                waiting = None
                yield case.id, None
                continue
            try:
                upsampler = model.infer(
                    case.image(), case.grid.shape, truth=case.label(), original=evaluation.original(case)
                )
            except AutosegError as error:
                yield case.id, error
                continue
            future = pool.submit(_finish, evaluation, case, split, sources, upsampler)
            if waiting is not None:
                yield _outcome(*waiting)
            waiting = case.id, future
        if waiting is not None:
            yield _outcome(*waiting)


def _outcome(case_id: str, future: Future[None]) -> tuple[str, AutosegError | None]:
    try:
        future.result()
    except AutosegError as error:
        return case_id, error
    return case_id, None


def _finish(evaluation: _Evaluation, case: CachedCase, split: str, sources: str, upsampler: Upsampler) -> None:
    """Write the mask of a case, and its rows into the journal."""
    model, scheme = evaluation.model, evaluation.model.plan.scheme
    for remark in upsampler.remarks:
        logger.warning("%s: %s", case.id, remark)
    for atoms, grid in ((upsampler.mask, case.grid), (upsampler.coarse, case.working)):
        apply_rules(atoms, model.postprocessing.cleanup, grid.spacing_mm, scheme)
    mask = scheme.decode(upsampler.mask)
    write_label(evaluation.mask(case), mask, case.stored)
    if case.id not in evaluation.dataset:
        raise VolumeError(f"{case.id}: is no longer in the dataset; its mask is written but not scored")
    truth = read_label(evaluation.dataset[case.id].label_files, case.grid, scheme)
    coarse, coarse_truth = scheme.decode(upsampler.coarse), scheme.decode(case.label())
    about = {"fold": evaluation.fold, "case": case.id, "split": split}
    on = {"original": (mask, truth.array, case.grid), "working": (coarse, coarse_truth, case.working)}
    organs = {organ: scheme.values_of(organ) for organ in scheme.shown(case.hidden).values()}
    rows = []
    for name, (prediction, reference, grid) in on.items():
        of_grid = {**about, "grid": name}
        tolerance_mm, unknown = evaluation.tolerance_mm, scheme.ignored
        rows += score_rows(prediction, reference, organs, grid.spacing_mm, of_grid, tolerance_mm, unknown)
    rows += _context_rows(model, upsampler, truth.array, case, {**about, "grid": "original"})
    counts = {} if upsampler.reliability is None else upsampler.reliability.counts()
    shown = [(scheme.organs[index], count) for index, count in counts.items() if index not in case.hidden]
    reliability = [row for organ, count in shown for row in reliability_rows(organ, count, about)]
    look = second_look(upsampler)
    evaluation.journal.append(case.id, sources, evaluation.mask(case), rows, reliability, look)


def _context_rows(
    model: Model, upsampler: Upsampler, truth: npt.NDArray[np.int32], case: CachedCase, about: Mapping[str, Any]
) -> list[Row]:
    """Return the rows to read the Dice against: what the model expects, the ceiling, and of two stages the first's."""
    scheme, organs = model.plan.scheme, model.plan.labels
    expected = [model.postprocessing.calibration.expected(estimate) for estimate in upsampler.certainty.estimates()]
    grids = [working_shape(case.grid, s.plan.spacing_mm, s.plan.downsampling) for s in model.stages[1:]]
    first, *finer = ceilings(truth, scheme, [case.working.shape, *grids])
    again = {organ.value for stage in model.stages[1:] for organ in stage.plan.labels}
    highest = first | {value: kept for of_grid in finer for value, kept in of_grid.items() if value in again}
    values: list[tuple[Label, str, float | None]] = [
        (organ, "expected_dice", value) for organ, value in zip(organs, expected, strict=True)
    ]
    values += [(organ, "ceiling_dice", highest.get(organ.value)) for organ in organs]
    if upsampler.first is not None:
        reached = dice(upsampler.first, scheme.encode(truth, case.id), scheme.atoms_of, IGNORED)
        values += [(organ, FIRST_DICE, reached[index]) for index, organ in scheme.organs.items()]
        values += [(organ, FIRST_CEILING, first.get(organ.value)) for organ in organs]
    labelled = scheme.shown(case.hidden).values()
    return [
        {**about, "organ": organ.name, "label": organ.value, "metric": metric, "value": value}
        for organ, metric, value in values
        if organ in labelled
    ]
