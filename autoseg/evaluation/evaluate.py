"""Evaluate a run: predict its cases on full volumes, score them on both grids."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from autoseg.data.cache import CachedCase, read_cases
from autoseg.data.preprocess import plan_digest
from autoseg.dataset.fingerprint import load_fingerprint
from autoseg.dataset.load import Case
from autoseg.dataset.split import Split
from autoseg.digests import code_digest, digest, remembered
from autoseg.errors import AutosegError, CasesFailedError, ModelError
from autoseg.evaluation.fold_elsewhere import (
    FoldOnDevice,
    Runs,
    determine_elsewhere,
    digest_of_fold,
    fold_for,
    infer_and_score,
    runs_of,
)
from autoseg.evaluation.freshness import ScoreJournal, note_score_sources, score_sources, score_sources_of_fold
from autoseg.evaluation.postprocessing import with_postprocessing
from autoseg.evaluation.score_case import CaseToScore, ScoredCase, infer_case, score_case
from autoseg.evaluation.tables import EvaluatedFold, Tables
from autoseg.imaging.grid import Grid
from autoseg.imaging.stored import stored_digest
from autoseg.inference.model import MASK_CODE, Model
from autoseg.inference.opening import open_fold
from autoseg.inference.upsample import Upsampler
from autoseg.locks import lock
from autoseg.metrics import TOLERANCE_MM
from autoseg.metrics.registry import METRICS
from autoseg.metrics.surface import ROUNDING_MM
from autoseg.network.build import plan_of
from autoseg.network.device import DeviceName
from autoseg.parts import Part, share_of
from autoseg.pool import Crew, Track, each, untracked
from autoseg.run import FoldFolder, Run
from autoseg.words import counted

logger = logging.getLogger(__name__)
CODE = (
    *MASK_CODE,
    "metrics",
    "evaluation/evaluate.py",
    "evaluation/fold_elsewhere.py",
    "evaluation/score_case.py",
    "evaluation/scores.py",
    "evaluation/reliability.py",
    "evaluation/tables.py",
    "planning/ceiling.py",
)
FIT_LOCK = "postprocessing.lock"  # in the folder of a fold
FIT_WAIT_S = 24 * 3600.0  # for another part that fits the postprocessing, which predicts validation cases


def evaluate(
    run: Run,
    splits: Sequence[Split],
    dataset: Mapping[str, Case],
    device: DeviceName,
    tolerance_mm: float = TOLERANCE_MM,
    track: Track = untracked,
    part: Part | None = None,
    crew: Crew | None = None,
) -> int:
    """Predict and score the cases of every trained fold; write masks, scores.csv and reliability.csv.

    A case is scored once per fold, under that fold's split. Rows are taken from the folds' journals when they are
    written, and are never all in memory. A part notes what came of its cases, and leaves the tables to the call that
    gathers.

    Args:
        run: With cache and at least one trained fold.
        splits: One a fold.
        dataset: Case id to its files.
        device: To predict on; workers have theirs.
        tolerance_mm: Of the normalised surface Dice.
        track: Shows progress.
        part: Of the cases of each fold; None: all.
        crew: Who predicts and scores; None: this process.

    Returns:
        How many cases have scores.

    Raises:
        ModelError: If no fold is trained, or one was trained under another plan or on testing cases.
        CasesFailedError: When all others are done and written, if some cases failed.
    """
    folds = trained_folds(run, splits)
    scored: set[str] = set()
    failed: dict[str, str] = {}
    tables = Tables(run)
    with remembered(run.digests_file):
        noted = score_sources(run)  # before they are read
        for fold in folds:
            evaluation, cases = _open_fold(run, fold, splits[fold], dataset, device, tolerance_mm, part, crew)
            noted |= score_sources_of_fold(run, fold)
            results = _scored(evaluation, cases)
            if crew is not None:
                results = _scored_by(crew, fold_for(crew, run, fold, evaluation.model), evaluation, cases)
            errors = dict(track(results, f"Evaluating fold {fold}", len(cases)))
            failed |= {case_id: str(error) for case_id, error in errors.items() if error is not None}
            done = [(side, case.id) for side, case in cases if errors.get(case.id) is None]
            scored |= {case_id for _, case_id in done}
            if part is None:
                tables.add(EvaluatedFold(journal=evaluation.journal, cases=done))
        if part is None:
            note_score_sources(run, noted)
    if failed:
        raise CasesFailedError("evaluate", failed, done=len(scored))
    return len(scored)


def trained_folds(run: Run, splits: Sequence[Split]) -> Sequence[int]:
    """Return the folds that are trained.

    Raises:
        ModelError: If there is none, or one that the split does not have.
    """
    folds = run.folds()
    if not folds:
        raise ModelError(f"{run.folder}: no trained fold; run `autoseg train {run.folder}` first")
    if folds[-1] >= len(splits):
        last = run.fold(folds[-1]).folder
        raise ModelError(f"{last}: the split has only {counted(len(splits), 'fold')}; remove the folder")
    return folds


def _open_fold(
    run: Run,
    fold: int,
    split: Split,
    dataset: Mapping[str, Case],
    device: DeviceName,
    tolerance_mm: float,
    part: Part | None,
    crew: Crew | None,
) -> tuple[_Evaluation, list[tuple[str, CachedCase]]]:
    """Open a fold's model, postprocessing fitted, and its cached cases, each with its side of the split."""
    file, settings = run.fold(fold).model, plan_digest(plan_of(run))
    share = share_of(part, split.cases())
    with lock(file.parent, "autoseg evaluate", FIT_WAIT_S, FIT_LOCK):  # one part fits, the others wait and read
        model = open_fold(run, fold, device)
        require_fitting(run, fold, model, split)
        of_fold = read_cases(run.cache, split.validation, settings), dataset, load_fingerprint(run.fingerprint_file)
        by = None if crew is None else partial(determine_elsewhere, crew, fold_for(crew, run, fold, model), *of_fold)
        runs = runs_of(model, crew)
        model = with_postprocessing(file, model, *of_fold, runs, by)
    sides = reversed(split.sides().items())  # testing cases first: they are what one waits for
    chosen = [(side, [case_id for case_id in ids if case_id in share]) for side, ids in sides]
    cases = [(side, case) for side, ids in chosen for case in read_cases(run.cache, ids, settings)]
    _warn_of_tolerance([case.grid for _, case in cases], tolerance_mm)
    evaluation = _Evaluation(
        model=model,
        runs=runs,
        digest=digest_of_fold(file, model),
        dataset=dataset,
        fold=fold,
        files=run.fold(fold),
        tolerance_mm=tolerance_mm,
        journal=ScoreJournal(run.fold(fold).evaluated, part),
    )
    return evaluation, cases


def require_fitting(run: Run, fold: int, model: Model, split: Split) -> None:
    """Refuse a fold whose scores would say nothing of the present plan and split.

    Raises:
        ModelError: If it was trained under another plan, or on cases that test now.
    """
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
    edges_mm = [min(grid.spacing_mm) for grid in grids if min(grid.spacing_mm) > tolerance_mm + ROUNDING_MM]
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
    runs: Runs  # of those who predict
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
        source = self.dataset.get(case.id)
        images = () if source is None or len(self.model.stages) == 1 else source.images  # the second looks at them
        read = (*(() if source is None else source.label_files), *images)
        how = (tuple(METRICS), self.runs, self.tolerance_mm)
        return digest(stored_digest(read), self.digest, how, split, case.record_digest, code_digest(*CODE))

    def to_score(self, case: CachedCase, split: str) -> CaseToScore:
        """Return a case with what scoring it takes."""
        return CaseToScore(
            case=case,
            source=self.dataset.get(case.id),
            split=split,
            fold=self.fold,
            mask=self.mask(case),
            tolerance_mm=self.tolerance_mm,
        )

    def is_fresh(self, case: CachedCase, sources: str) -> bool:
        """Return whether a case was scored from the same sources."""
        return self.journal.rows(case.id, sources, self.mask(case)) is not None

    def note(self, case: CachedCase, sources: str, scored: ScoredCase) -> None:
        """Note what came of a case."""
        self.journal.append(case.id, sources, self.mask(case), scored.rows, scored.reliability, scored.look)


def _scored(
    evaluation: _Evaluation, cases: Sequence[tuple[str, CachedCase]]
) -> Iterator[tuple[str, AutosegError | None]]:
    """Predict one case after another, scoring and writing the previous one meanwhile; yield what kept it from that."""
    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[str, Future[None]] | None = None
        for split, case in cases:
            sources = evaluation.sources(case, split)  # before the label map is read: it may be edited meanwhile
            if evaluation.is_fresh(case, sources):
                if waiting is not None:
                    yield _outcome(*waiting)
                waiting = None
                yield case.id, None
                continue
            try:
                upsampler = infer_case(evaluation.model, evaluation.to_score(case, split))
            except AutosegError as error:
                yield case.id, error
                continue
            future = pool.submit(_finish, evaluation, case, split, sources, upsampler)
            if waiting is not None:
                yield _outcome(*waiting)
            waiting = case.id, future
        if waiting is not None:
            yield _outcome(*waiting)


def _scored_by(
    crew: Crew, fold: FoldOnDevice, evaluation: _Evaluation, cases: Sequence[tuple[str, CachedCase]]
) -> Iterator[tuple[str, AutosegError | None]]:
    """Have cases predicted and scored by others; yield what kept a case from that. Those that are fresh come first."""
    due: dict[str, tuple[CachedCase, str, str]] = {}
    for split, case in cases:
        sources = evaluation.sources(case, split)
        if evaluation.is_fresh(case, sources):
            yield case.id, None
        else:
            due[case.id] = case, split, sources
    work = ((name, (fold, evaluation.to_score(case, split))) for name, (case, split, _) in due.items())
    for name, result in each(infer_and_score, work, crew):
        if isinstance(result, AutosegError):
            yield name, result
        else:
            case, _, sources = due[name]
            evaluation.note(case, sources, result)
            yield name, None


def _outcome(case_id: str, future: Future[None]) -> tuple[str, AutosegError | None]:
    try:
        future.result()
    except AutosegError as error:
        return case_id, error
    return case_id, None


def _finish(evaluation: _Evaluation, case: CachedCase, split: str, sources: str, upsampler: Upsampler) -> None:
    """Write the mask of a case, and its rows into the journal."""
    evaluation.note(case, sources, score_case(evaluation.model, evaluation.to_score(case, split), upsampler))
