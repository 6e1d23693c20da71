"""External testing: a RUN's models on another dataset, its organs matched by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.dataset.load import Case, Dataset
from autoseg.digests import code_digest, digest
from autoseg.errors import AutosegError, CasesFailedError, RunError
from autoseg.evaluation.freshness import ScoreJournal
from autoseg.evaluation.scores import Row, score_rows, write_scores
from autoseg.imaging.dicom_contours import remarks_on_series
from autoseg.imaging.lattice import require_together
from autoseg.imaging.stored import stored_digest
from autoseg.imaging.volumes import read_label, write_label
from autoseg.inference.model import MASK_CODE, Model
from autoseg.inference.predict import raise_as_job_error
from autoseg.labels import HIGHEST_VALUE, Label, organ_key
from autoseg.metrics import TOLERANCE_MM
from autoseg.metrics.registry import METRICS
from autoseg.pool import Track, untracked
from autoseg.run import MASK_SUFFIX, ExternalFolder

logger = logging.getLogger(__name__)
CODE = (*MASK_CODE, "metrics", "evaluation/external.py", "evaluation/scores.py")
UNKNOWN = HIGHEST_VALUE + 1  # no organ can have it


def evaluate_external(
    model: Model,
    dataset: Dataset,
    folder: ExternalFolder,
    models: str,
    tolerance_mm: float = TOLERANCE_MM,
    track: Track = untracked,
) -> int:
    """Predict and score every case of another dataset; write masks and scores.csv; return how many were scored.

    Each case is noted when it is scored, and not predicted again while neither it nor the models have changed.

    Args:
        model: All folds of the RUN.
        dataset: The other one; organs that only one of the two has are not scored.
        folder: What is written goes there.
        models: A digest of the files that the model is made of.
        tolerance_mm: Of the normalised surface Dice.
        track: Shows progress.

    Raises:
        RunError: If no organ is in both.
        CasesFailedError: When all others are done and written, if some cases failed.
    """
    values = matched(dataset.labels, model.plan.labels)
    if dataset.scheme.overlapping or model.plan.scheme.overlapping:
        _require_same_regions(model, dataset)
        values = {value: organ for value, organ in values.items() if value == organ.value}
    if not values:
        names = ", ".join(label.name for label in model.plan.labels[:5])
        raise RunError(f"--dataset {dataset.root}: has none of the model's organs ({names}); name its labels alike")
    known = sorted(model.trained_on & {case.id for case in dataset.cases})
    if known:
        logger.warning("%s: the model was trained on cases of the same name (%s …)", dataset.root, known[0])
    scored_cases: list[str] = []
    failed: dict[str, str] = {}
    journal = ScoreJournal(folder.evaluated)
    theirs = dataset.labels, dataset.regions, dataset.ignored  # by which label maps are read
    how = (models, model.runs, tuple(METRICS), tolerance_mm, tuple(values.items()), theirs, code_digest(*CODE))
    for case in track(dataset.cases, f"Evaluating {dataset.name}", len(dataset.cases)):
        file = folder.predictions / f"{case.id}{MASK_SUFFIX}"
        sources = digest(stored_digest((*case.images, *case.label_files)), case.labelled, case.is_mask, *how)
        scored = journal.rows(case.id, sources, file)
        try:
            if scored is None:
                with raise_as_job_error(file):
                    scored = _rows(model, case, values, dataset, file, tolerance_mm)
                journal.append(case.id, sources, file, scored)
        except AutosegError as error:
            failed[case.id] = str(error)
        else:
            scored_cases.append(case.id)
    if scored_cases:
        write_scores((row for name in scored_cases for row in journal.scored(name)), folder.scores_file)
    else:  # those of before would pass for those of the files that are there now
        folder.scores_file.unlink(missing_ok=True)
    if failed:
        raise CasesFailedError("evaluate", failed, done=len(scored_cases))
    return len(scored_cases)


def _require_same_regions(model: Model, dataset: Dataset) -> None:
    """Refuse regions of which the other dataset has others: a region's values have no meaning of their own.

    Raises:
        RunError: If names, values or what is painted differ.
    """
    own, other = (
        {organ_key(organ.name): (organ.value, sorted(scheme.values_of(organ))) for organ in scheme.labels}
        for scheme in (model.plan.scheme, dataset.scheme)
    )
    if own != other:
        raise RunError(
            f"--dataset {dataset.root}: its regions are not the model's; give them the same names and values"
        )


def matched(theirs: tuple[Label, ...], ours: tuple[Label, ...]) -> dict[int, Label]:
    """Return value in the other dataset to the organ of the model, by name whatever its case."""
    by_name = {organ_key(label.name): label for label in ours}
    return {label.value: by_name[organ_key(label.name)] for label in theirs if organ_key(label.name) in by_name}


def renumbered(
    truth: npt.NDArray[np.integer], values: Mapping[int, Label], ignored: int | None = None
) -> npt.NDArray[np.int32]:
    """Return a label map of the other dataset with the model's values; what the model does not know is background.

    Where its value is `ignored`, it becomes UNKNOWN.
    """
    place = np.zeros(max(int(truth.max()), *values) + 1, dtype=np.int32)
    for value, organ in values.items():
        place[value] = organ.value
    if ignored is not None and ignored < len(place):
        place[ignored] = UNKNOWN
    return np.asarray(place[truth.clip(0)])


def _parts(values: Mapping[int, Label], model: Model) -> Mapping[int, Label]:
    """Return what each value of the other dataset is in the model; of regions, every value is itself."""
    scheme = model.plan.scheme
    return {v: Label(value=v, name=f"part {v}") for v in scheme.values if v} if scheme.overlapping else values


def _rows(
    model: Model, case: Case, values: Mapping[int, Label], dataset: Dataset, file: Path, tolerance_mm: float
) -> list[Row]:
    for remark in (one for drawn in case.label_files for one in remarks_on_series(drawn, case.images[0])):
        logger.warning("%s: %s; %s", case.id, remark.found, remark.fix)
    prediction = model.predict(list(case.images))
    mask = prediction.mask
    write_label(file, mask.array, mask.stored)
    label = read_label(case.label_files, mask.grid, dataset.scheme)
    require_together(case.label, label.grid, mask.grid)
    truth = renumbered(label.array, _parts(values, model), dataset.ignored)
    scheme = model.plan.scheme
    shown = {organ: scheme.values_of(organ) for value, organ in values.items() if case.shows(value)}
    about = {"fold": 0, "case": case.id, "split": "testing", "grid": "original"}
    rows = score_rows(mask.array, truth, shown, mask.grid.spacing_mm, about, tolerance_mm, UNKNOWN)
    expected = {organ.label: organ.expected_dice for organ in prediction.organs}
    return rows + [
        {**about, "organ": o.name, "label": o.value, "metric": "expected_dice", "value": expected.get(o.value)}
        for o in shown
    ]
