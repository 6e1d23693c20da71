"""The postprocessing in a model file: clean-up, calibration and fingerprint, learnt on validation cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.errors import ModelError
from autoseg.inference.calibration import Calibration
from autoseg.inference.postprocess import PostprocessRule
from autoseg.plan import PlanPart

LINE = ("slope", "intercept", "low", "high", "scatter")  # of a calibration


class Postprocessing(PlanPart):
    """What was learnt on validation cases after the training; stored in the model file."""

    cleanup: tuple[PostprocessRule, ...] = ()  # at most one an organ
    calibration: Calibration = Calibration()
    fingerprint: Fingerprint | None = None  # of the training's dataset
    # a digest of what it was learnt from beside the weights; the key in model files is that of older versions
    sources_digest: str = Field(default="", validation_alias="learnt_from", serialization_alias="learnt_from")


def read_postprocessing(file: Path, facts: Mapping[str, Any]) -> Postprocessing:
    """Return what a model file says of it; one of an older version may say nothing.

    Raises:
        ModelError: If it is not valid.
    """
    try:
        return TypeAdapter(Postprocessing).validate_python(facts.get("aftercare", {}))
    except ValidationError as error:
        raise ModelError(
            f"{file}: what it says of clean-up or calibration is not valid; evaluate the run again"
        ) from error


def joined(folds: Sequence[Postprocessing]) -> Postprocessing:
    """Return the postprocessing of several folds together: what each cleans, by the first's rules; the mean line.

    Folds that were not evaluated have learnt nothing and do not count; nor, for the line, those whose validation cases
    were too few for one.
    """
    first, *rest = [fold for fold in folds if fold.sources_digest] or folds
    labels_cleaned = [{rule.label for rule in fold.cleanup} for fold in rest]
    rules = tuple(rule for rule in first.cleanup if all(rule.label in labels for labels in labels_cleaned))
    lines = [fold.calibration for fold in (first, *rest) if fold.calibration.scatter is not None]
    if not lines:
        return first.model_copy(update={"cleanup": rules})
    mean = lines[0].model_copy(update={name: fmean(getattr(one, name) for one in lines) for name in LINE})
    return first.model_copy(update={"cleanup": rules, "calibration": mean})
