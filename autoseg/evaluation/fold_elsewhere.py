"""A trained fold where workers are: opened once in each, its postprocessing fitted, its cases predicted and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from autoseg.data.cache import CachedCase
from autoseg.dataset.fingerprint import Fingerprint
from autoseg.dataset.load import Case
from autoseg.errors import AutosegError, ModelError
from autoseg.evaluation.postprocessing import determine_postprocessing
from autoseg.evaluation.score_case import CaseToScore, ScoredCase, infer_case, score_case
from autoseg.inference.model import Model
from autoseg.inference.opening import open_fold
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.network.device import pick_device
from autoseg.network.weights import MODEL, read_facts
from autoseg.pool import Crew, each
from autoseg.run import Run

Runs = tuple[tuple[str, bool], ...]  # as of `Model.runs`


@dataclass(frozen=True, kw_only=True)
class FoldOnDevice:
    """A trained fold as a worker opens it."""

    run: Run
    fold: int
    device: str  # as --device has it
    digest: str  # as of `digest_of_fold`: a worker may see an older file

    @property
    def file(self) -> Path:
        """The file of its model."""
        return self.run.fold(self.fold).model


Fitting = tuple[FoldOnDevice, Sequence[CachedCase], Mapping[str, Case], Fingerprint | None]


def digest_of_fold(file: Path, model: Model) -> str:
    """Return a digest of a fold's model as its files hold it now, postprocessing included."""
    return str(read_facts(file, MODEL)["sha256"]) + model.later_digest


def fold_for(crew: Crew, run: Run, fold: int, model: Model) -> FoldOnDevice:
    """Return a fold as the workers are to open it: on the device that they have, on the model's where none is known."""
    device = model.plan.device if crew.backend is None else crew.backend.device
    return FoldOnDevice(run=run, fold=fold, device=device, digest=digest_of_fold(run.fold(fold).model, model))


def runs_of(model: Model, crew: Crew | None) -> Runs:
    """Return where each stage of a model runs, and whether in bfloat16: here, or where the workers are."""
    if crew is None or crew.backend is None:
        return model.runs
    device, is_fast = crew.backend.device, crew.backend.has_fast_bfloat16
    precisions = [stage.plan.precision for stage in model.stages]
    return tuple((device, is_fast if precision == "auto" else precision == "bfloat16") for precision in precisions)


def infer_and_score(work: tuple[FoldOnDevice, CaseToScore]) -> ScoredCase:
    """Predict and score a case where a worker is.

    Raises:
        ModelError: If the worker sees another model than was meant.
    """
    model = _opened(work[0])
    return score_case(model, work[1], infer_case(model, work[1]))


def determine_elsewhere(
    crew: Crew,
    fold: FoldOnDevice,
    cases: Sequence[CachedCase],
    dataset: Mapping[str, Case],
    fingerprint: Fingerprint | None,
) -> Postprocessing:
    """Have a worker do as `determine_postprocessing`.

    Args:
        crew: Of workers.
        fold: Whose postprocessing it is.
        cases: The validation cases.
        dataset: Case id to its files.
        fingerprint: Fingerprint of the dataset, stored with it.

    Raises:
        ModelError: If it cannot be done.
    """
    sources = {case.id: dataset[case.id] for case in cases if case.id in dataset}
    fitting: dict[str, Fitting] = {"fit": (fold, tuple(cases), sources, fingerprint)}
    ((_, result),) = each(_determine_here, fitting, crew)
    if isinstance(result, AutosegError):
        raise ModelError(f"{fold.file}: its postprocessing cannot be fitted: {result}") from result
    return result


def _determine_here(fitting: Fitting) -> Postprocessing:
    fold, cases, dataset, fingerprint = fitting
    return determine_postprocessing(_opened(fold), cases, dataset, fingerprint)


@lru_cache(maxsize=1)
def _opened(fold: FoldOnDevice) -> Model:
    model = open_fold(fold.run, fold.fold, pick_device(fold.device))
    if digest_of_fold(fold.file, model) != fold.digest:
        raise ModelError(
            f"{fold.file}: a worker sees another model here; see that all machines share one disk, then again"
        )
    return model
