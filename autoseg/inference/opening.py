"""Opening models: the networks of a file, or of all folds of a RUN, ready to predict."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from autoseg.data.preprocess import plan_digest
from autoseg.errors import ModelError
from autoseg.inference.model import Model
from autoseg.inference.postprocessing_file import Postprocessing, joined, read_postprocessing
from autoseg.inference.stage import Stage
from autoseg.network.device import DeviceName
from autoseg.network.unet import fold_norms
from autoseg.network.weights import MODEL, Loaded, load_stages, model_files, read_facts, second_files
from autoseg.plan import NetworkPlan
from autoseg.run import Run

logger = logging.getLogger(__name__)


def open_model(model: Path, device: DeviceName) -> Model:
    """Load a model file, or all folds of a RUN; with both stages where that file, or the RUN that it is in, has two.

    An ensemble cleans up the organs that each of its folds would, by the first fold's rules; its line from certainty to
    Dice is the mean of theirs.

    Raises:
        ModelError: If there is no model, one is damaged, or the folds' plans differ in more than the device.
    """
    run = Run(model)
    files, later = (
        ((model,), _second_files_of(model)) if model.is_file() else (model_files(model), second_files(run, run.folds()))
    )
    return _opened(model, files, later, device, warn=True)


def open_fold(run: Run, fold: int, device: DeviceName) -> Model:
    """Load one fold of a RUN, with both stages where its plan has two; errors as of `open_model`."""
    return _opened(run.fold(fold).model, (run.fold(fold).model,), second_files(run, (fold,)), device)


def open_first(model: Path, device: DeviceName) -> Stage:
    """Load the first stage of a fold by its model file; errors as of `open_model`."""
    return _stage(_loaded(model, (model,), device)[0], device)


def _second_files_of(model: Path) -> tuple[Path, ...]:
    """Return the second stage of a fold whose first stage's model file is given; none where it lies in no RUN."""
    run = Run(model.resolve().parent.parent)
    folds = [number for number in run.folds() if run.fold(number).model.samefile(model)]
    return second_files(run, folds) if folds else ()


def _opened(
    model: Path, files: Sequence[Path], later_files: Sequence[Path], device: DeviceName, *, warn: bool = False
) -> Model:
    by_stage = [*_loaded(model, files, device), *_loaded(model, later_files, device)]
    folds = by_stage[0]
    learnt = [read_postprocessing(file, facts) for file, (_, _, facts) in zip(files, folds, strict=True)]
    if warn:
        _warn_of_unready(files, folds, learnt)
        if len(by_stage) == 1 and any(facts.get("stages", 1) > 1 for _, _, facts in folds):
            logger.warning(
                "%s: is the first of two stages, and without the second its masks are the coarse ones; give the RUN "
                "that has both, or what `autoseg export` writes", model,
            )  # fmt: skip
    digests, later_digests = ("".join(map(_digest_of, some)) for some in (files, later_files))
    return Model(
        stages=tuple(_stage(parts, device) for parts in by_stage),
        trained_on=frozenset(
            str(case) for parts in by_stage for _, _, facts in parts for case in facts.get("trained_on", ())
        ),
        postprocessing=joined(learnt),
        digest=hashlib.sha256((digests + later_digests).encode()).hexdigest()[:16],
        later_digest=later_digests,
    )


def _warn_of_unready(files: Sequence[Path], folds: Sequence[Loaded], learnt: Sequence[Postprocessing]) -> None:
    """Name the folds that are still being trained, or ended early, and those that are not evaluated."""
    is_any_evaluated, is_one = any(after.sources_digest for after in learnt), len(files) == 1
    for file, (_, plan, facts), after in zip(files, folds, learnt, strict=True):
        done, place = facts.get("iteration"), file if is_one else file.parent
        if isinstance(done, int) and done < plan.iterations:
            others = ", and counts as much as the other folds; give another fold's model.autoseg to leave it out"
            alone = ": it is still being trained, or was ended early"
            logger.warning(
                "%s: has %d of its %d iterations%s", place, done, plan.iterations, alone if is_one else others
            )
        elif (is_any_evaluated or is_one) and not after.sources_digest:
            alone = "its masks are not cleaned up, and the Dice to expect is not calibrated"
            others = "clean-up and expected Dice are those of the other folds"
            run = Run(file.parent.parent)
            logger.warning(
                "%s: is not evaluated, so %s; run `autoseg evaluate %s`",
                place,
                alone if is_one else others,
                run.folder if run.plan_file.is_file() else "RUN",
            )


def _loaded(model: Path, files: Sequence[Path], device: DeviceName) -> list[tuple[Loaded, ...]]:
    """Return the networks of the folds, with plan and facts, by stage; refuse folds of different plans."""
    loaded = [load_stages(file, device) for file in files]
    for other in loaded[1:]:
        if list(map(_decides, other)) != list(map(_decides, loaded[0])):
            raise ModelError(f"{model}: its folds were trained under different plans; train them anew under one plan")
    for stages in loaded:
        for networks, _, _ in stages:
            for network in networks:
                fold_norms(network)
    return list(zip(*loaded, strict=True))


def _decides(loaded: Loaded) -> tuple[str, NetworkPlan, float | None, bool]:
    """Return what decides the outputs of a stage's networks beside their weights."""
    _, plan, _ = loaded
    return plan_digest(plan), plan.network, plan.logit_scale, plan.region_parts


def _stage(loaded: Sequence[Loaded], device: DeviceName) -> Stage:
    """Return one stage of an ensemble of folds; the box of a second one shows what the most careful fold needs."""
    plan = loaded[0][1].model_copy(update={"device": device})
    margins_mm = [plan.margin_mm for _, plan, _ in loaded if plan.margin_mm is not None]
    if margins_mm:
        plan = plan.model_copy(update={"margin_mm": max(margins_mm)})
    return Stage(networks=tuple(network for part, _, _ in loaded for network in part), plan=plan)


def _digest_of(file: Path) -> str:
    return read_facts(file, MODEL).get("sha256", "")
