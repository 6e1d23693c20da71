"""Score one case of a RUN: its mask written, its rows of scores.csv and reliability.csv made."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.data.cache import CachedCase
from autoseg.data.preprocess import read_cached_image
from autoseg.dataset.load import Case
from autoseg.errors import VolumeError
from autoseg.evaluation.reliability import reliability_rows
from autoseg.evaluation.scores import FIRST_CEILING, FIRST_DICE, Row, score_rows
from autoseg.evaluation.two_stages import SecondLook, second_look
from autoseg.imaging.grid import working_shape
from autoseg.imaging.volumes import read_label, write_label
from autoseg.inference.model import Model
from autoseg.inference.postprocess import apply_rules
from autoseg.inference.predict import raise_as_job_error
from autoseg.inference.second_stage import Original
from autoseg.inference.upsample import Upsampler
from autoseg.labels import IGNORED, Atoms, Label
from autoseg.metrics.overlap import dice
from autoseg.planning.ceiling import ceilings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CaseToScore:
    """A cached case with its truth, and what its rows say beside the numbers."""

    case: CachedCase
    source: Case | None  # its files; None: the dataset has it no more
    split: str  # the side that it is on
    fold: int
    mask: Path  # where its predicted label map goes
    tolerance_mm: float  # of the normalised surface Dice


@dataclass(frozen=True, kw_only=True)
class ScoredCase:
    """What came of a case."""

    rows: list[Row]  # of scores.csv
    reliability: list[Row]  # of reliability.csv
    look: SecondLook | None  # where a second stage looked, and how long it took


@raise_as_job_error()
def infer_case(model: Model, one: CaseToScore) -> Upsampler:
    """Predict a case on the working grid; errors as of `Model.infer`, and those of what the system refuses."""
    return model.infer(one.case.image(), one.case.grid.shape, truth=one.case.label(), original=_original(model, one))


def _original(model: Model, one: CaseToScore) -> Original | None:
    """Return the image of a case with its truth, for a second stage; None where the dataset has it no more."""
    source, scheme = one.source, model.plan.scheme
    if source is None:
        return None

    def truth() -> Atoms:
        return scheme.encode(read_label(source.label_files, one.case.grid, scheme).array, one.case.id)

    return Original(read=lambda: read_cached_image(one.case, source), truth=truth)


@raise_as_job_error(done="scored")
def score_case(model: Model, one: CaseToScore, upsampler: Upsampler) -> ScoredCase:
    """Write the mask of a case and score it, on both grids.

    Raises:
        VolumeError: If its truth cannot be read, or the dataset has it no more.
        TooLittleMemoryError: If the memory is full.
    """
    scheme, case = model.plan.scheme, one.case
    for remark in upsampler.remarks:
        logger.warning("%s: %s", case.id, remark)
    for atoms, grid in ((upsampler.mask, case.grid), (upsampler.coarse, case.working)):
        apply_rules(atoms, model.postprocessing.cleanup, grid.spacing_mm, scheme, model.plan.flat)
    mask = scheme.decode(upsampler.mask)
    write_label(one.mask, mask, case.stored)
    if one.source is None:
        raise VolumeError(f"{case.id}: is no longer in the dataset; its mask is written but not scored")
    truth = read_label(one.source.label_files, case.grid, scheme)
    coarse, coarse_truth = scheme.decode(upsampler.coarse), scheme.decode(case.label())
    about = {"fold": one.fold, "case": case.id, "split": one.split}
    on = {"original": (mask, truth.array, case.grid), "working": (coarse, coarse_truth, case.working)}
    organs = {organ: scheme.values_of(organ) for organ in scheme.shown(case.hidden).values()}
    rows = []
    for name, (prediction, reference, grid) in on.items():
        of_grid = {**about, "grid": name}
        unknown = scheme.ignored
        rows += score_rows(prediction, reference, organs, grid.spacing_mm, of_grid, one.tolerance_mm, unknown)
    rows += _context_rows(model, upsampler, truth.array, case, {**about, "grid": "original"})
    counts = {} if upsampler.reliability is None else upsampler.reliability.counts()
    shown = [(scheme.organs[index], count) for index, count in counts.items() if index not in case.hidden]
    reliability = [row for organ, count in shown for row in reliability_rows(organ, count, about)]
    return ScoredCase(rows=rows, reliability=reliability, look=second_look(upsampler))


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
