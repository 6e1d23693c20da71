"""Fit the postprocessing of a trained fold on its validation cases: cleanup rules and Dice calibration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from autoseg.data.cache import CachedCase, covering_cases
from autoseg.data.preprocess import read_cached_image
from autoseg.dataset.fingerprint import Fingerprint
from autoseg.dataset.load import Case
from autoseg.digests import code_digest, digest
from autoseg.errors import AutosegError
from autoseg.imaging.grid import Triple
from autoseg.imaging.stored import stored_digest
from autoseg.imaging.volumes import read_label
from autoseg.inference.calibration import calibrate
from autoseg.inference.model import MASK_CODE, Model
from autoseg.inference.postprocess import apply_rules, choose_region_rules, choose_rules
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.inference.second_stage import Original
from autoseg.labels import IGNORED, Atoms
from autoseg.metrics.overlap import dice
from autoseg.network.weights import MODEL, load_tensors, parse_facts, save_tensors

MOST_CASES = 12  # validation cases that are used
CODE = (*MASK_CODE, "metrics", "evaluation/postprocessing.py")


def with_postprocessing(
    file: Path,
    model: Model,
    cases: Sequence[CachedCase],
    dataset: Mapping[str, Case],
    fingerprint: Fingerprint | None,
    runs: tuple[tuple[str, bool], ...] | None = None,
    determine: Callable[[], Postprocessing] | None = None,
) -> Model:
    """Return a fold's model with its postprocessing; fit and store it first unless it is up to date.

    Training writes the file without postprocessing, so any that is present belongs to these weights.

    Args:
        file: The fold's model file.
        model: What was read from it.
        cases: The validation cases.
        dataset: Case id to its files.
        fingerprint: Fingerprint of the dataset, stored with it.
        runs: Where the model runs that it is fitted with; None: this one.
        determine: Does as `determine_postprocessing`, elsewhere.

    Raises:
        ModelError: If the file is missing or damaged.
        OSError: If the disk is full; the file is then as it was.
    """
    sources_of = [dataset[case.id] for case in cases if case.id in dataset]
    truths = [file for source in sources_of for file in source.label_files]
    if len(model.stages) > 1:  # the second looks at the images themselves
        truths += [file for source in sources_of for file in source.images]
    stored = None if fingerprint is None else fingerprint.model_dump_json()
    records = [case.record_digest for case in cases]
    sources = digest(stored_digest(truths), runs or model.runs, model.later_digest, records, stored, code_digest(*CODE))
    if model.postprocessing.sources_digest == sources:
        return model
    determine = determine or partial(determine_postprocessing, model, cases, dataset, fingerprint)
    postprocessing = determine().model_copy(update={"sources_digest": sources})
    store_postprocessing(file, postprocessing)
    return replace(model, postprocessing=postprocessing)


def determine_postprocessing(
    model: Model, cases: Sequence[CachedCase], dataset: Mapping[str, Case], fingerprint: Fingerprint | None
) -> Postprocessing:
    """Predict validation cases, choose the cleanup rules that raise their Dice, and calibrate the expected Dice.

    A case that cannot be read or predicted is skipped; its error is reported when it is scored.

    Args:
        model: As trained.
        cases: The validation cases, of which MOST_CASES are used.
        dataset: Case id to its files.
        fingerprint: Fingerprint of the dataset, stored with it.
    """
    scheme = model.plan.scheme
    masks, truths, spacings_mm, estimates = (
        list[Atoms](),
        list[Atoms](),
        list[Triple](),
        list[tuple[float | None, ...]](),
    )
    for case in covering_cases(cases, MOST_CASES):
        try:
            source = dataset[case.id]
            truth = scheme.encode(read_label(source.label_files, case.grid, scheme).array, case.id)
            original = Original(read=partial(read_cached_image, case, source))
            upsampler = model.infer(case.image(), case.grid.shape, original=original)
        except (AutosegError, KeyError):
            continue
        if truth.shape != upsampler.mask.shape:
            continue
        # unlabelled organs must not count
        masks.append(scheme.without(upsampler.mask, case.hidden) if case.hidden else upsampler.mask)
        truths.append(truth)
        spacings_mm.append(case.grid.spacing_mm)
        estimates.append(upsampler.certainty.estimates())
    if scheme.overlapping:
        rules = choose_region_rules(masks, truths, scheme, spacings_mm, model.plan.flat)
    else:
        rules = choose_rules(masks, truths, tuple(scheme.organs), spacings_mm, model.plan.flat)
    points = []
    for mask, truth, spacing_mm, expected in zip(masks, truths, spacings_mm, estimates, strict=True):
        apply_rules(mask, rules, spacing_mm, scheme, model.plan.flat)
        reached = dice(mask, truth, scheme.atoms_of, IGNORED)
        points += [(e, d) for e, d in zip(expected, reached.values(), strict=True) if e is not None and d is not None]
    calibration = calibrate([e for e, _ in points], [d for _, d in points])
    return Postprocessing(cleanup=rules, calibration=calibration, fingerprint=fingerprint)


def store_postprocessing(file: Path, postprocessing: Postprocessing) -> None:
    """Write postprocessing into a model file atomically; the weights stay.

    Raises:
        ModelError: If the file is missing or damaged.
        OSError: If the disk is full; the file is then as it was.
    """
    tensors, facts = load_tensors(file, MODEL)
    about = parse_facts(facts, file) | {"aftercare": postprocessing.model_dump(mode="json", by_alias=True)}
    save_tensors(file, MODEL, tensors, {"plan": facts["plan"], "facts": json.dumps(about)})
