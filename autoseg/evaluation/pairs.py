"""A pair of masks to score, what came of it, and how a part of `score` notes that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoseg.digests import code_digest
from autoseg.evaluation.scores import Row
from autoseg.imaging.stored import stored_digest
from autoseg.labels import Label, LabelScheme
from autoseg.part_notes import Form

CODE = ("evaluation/folders.py", "evaluation/scores.py", "evaluation/instances.py", "metrics", "imaging", "labels.py")


@dataclass(frozen=True)
class Pair:
    """What one process needs to score a case."""

    name: str
    prediction: Path
    reference: Path
    labels: tuple[Label, ...]  # to score
    within: Mapping[int, tuple[int, ...]]  # values within an organ, by its own; its own alone where it is not named
    named: LabelScheme  # what segments may be called as
    tolerance_mm: float
    ignored: int | None  # value of the reference whose voxels are not scored
    by_piece: bool  # whether each piece of an organ is listed


@dataclass(frozen=True)
class ScoredPair:
    """The scores of a case, and the label values on either side."""

    rows: list[Row]
    pieces: list[Row]  # as `instance_rows`
    predicted: frozenset[int]
    true: frozenset[int]


def form_of_scores() -> Form[Pair, ScoredPair]:
    """Return how the scores of a pair are noted."""
    from pydantic import TypeAdapter

    form = TypeAdapter(ScoredPair)
    return Form(
        dump=lambda scored: {**vars(scored), "predicted": sorted(scored.predicted), "true": sorted(scored.true)},
        load=form.validate_python,
        content=lambda pair: stored_digest((pair.prediction, pair.reference)),
        how=code_digest(*CODE),
    )
