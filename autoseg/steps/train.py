"""train: from a plan and its cache to models."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from autoseg.data.cache import CachedCase, read_cases
from autoseg.data.preprocess import plan_digest
from autoseg.dataset.origin import splits_of
from autoseg.dataset.split import Split
from autoseg.digests import remembered
from autoseg.errors import PlanError, TooLittleMemoryError
from autoseg.imaging.grid import Voxels
from autoseg.inference.opening import open_first
from autoseg.inference.second_cases import second_cases
from autoseg.machine import default_workers, free_memory_gib, process_place
from autoseg.network.build import plan_of
from autoseg.network.device import DeviceName, pick_device, release_memory, repeat_exactly
from autoseg.network.distributed import from_first, process_group, process_rank, world_size
from autoseg.network.weights import weights_digest
from autoseg.options import TrainOptions
from autoseg.parts import Folds
from autoseg.plan import Plan
from autoseg.planning.budget import GPU_SHARE, batch_bytes, detect_budget, share_of, step_gib
from autoseg.planning.fit import FINER, ITERATIONS_SHARE
from autoseg.planning.requirements import nearest_fit, require_crops, require_indexable, require_one_device
from autoseg.planning.slowness import warn_of_few, warn_of_others
from autoseg.pool import Track, untracked
from autoseg.run import FoldFolder, Run
from autoseg.settings import with_settings
from autoseg.steps.ending import Ending
from autoseg.steps.second_sources import second_sources
from autoseg.training.checkpoint import forget_other_first_stage, planned_iterations
from autoseg.training.loop import Fold, Progress
from autoseg.training.loop import train as train_fold
from autoseg.training.measure import measure_step
from autoseg.words import counted

logger = logging.getLogger(__name__)
LESS = 0.8  # of the memory that a step was thought to take, after it did not fit


def train(
    run: Run,
    options: TrainOptions,
    tell: Callable[[int, Progress], None],
    stop: Callable[[], bool],
    track: Track = untracked,
) -> dict[int, int]:
    """Train folds one after another, each from its checkpoint where there is one.

    Args:
        run: With plan, split and cache.
        options: What the user asks.
        tell: Called after each iteration with the fold.
        stop: Asked after each iteration.
        track: Shows how the cases of a second stage are made, between the two trainings.

    Returns:
        Fold to the iterations it was to have; only those that are finished.

    Raises:
        PlanError: If a fold is not in the split.
        LockedError: If another process writes to RUN.
    """
    folds, is_first = _folds(run, options), process_place().rank == 0
    ending = Ending(run, folds, stop)
    with run.locked("train", folds_of(options)) if is_first else nullcontext():  # once, where several train together
        finished = _train(run, folds, options, tell, ending, track)
    if is_first:
        ending.clear()
    return finished


def folds_of(options: TrainOptions) -> Folds | None:
    """Return the folds that are asked for, beside which others may be trained at the same time; None: all."""
    return None if options.folds is None else Folds(options.folds)


def _folds(run: Run, options: TrainOptions) -> tuple[int, ...]:
    """Return the folds to train; those that the split does not have are refused."""
    count = len(splits_of(run))
    unknown = [fold for fold in options.folds or () if fold >= count]
    if unknown:
        raise PlanError(f"--fold {unknown[0]}: the split has folds 0 to {count - 1}; plan with --folds for more")
    return tuple(range(count)) if options.folds is None else options.folds


def _train(
    run: Run,
    folds: Sequence[int],
    options: TrainOptions,
    tell: Callable[[int, Progress], None],
    ending: Ending,
    track: Track,
) -> dict[int, int]:
    splits = splits_of(run)
    device = device_of(plan_of(run), options.device)
    require_one_device(run.plan(), process_place().size)
    _require_later(run, {fold: splits[fold] for fold in folds}, device)
    if options.deterministic:
        repeat_exactly()
    finished = {}
    with process_group(device):
        for turn, fold in enumerate(folds, start=1):
            if from_first(ending.is_near()):
                break
            release_memory(device)  # of the fold before: a time budget is measured in another process
            job = _fold(run, fold, splits[fold], options, device)
            if not _trained(job, _telling(tell, fold, (turn, len(folds)), 0), ending.is_near):
                break
            if run.plan().finer is not None:
                release_memory(device)
                second = _second(run, fold, job, options, track, ending)
                if second is None:
                    break
                if not _trained(second, _telling(tell, fold, (turn, len(folds)), 1), ending.is_near):
                    break
            finished[fold] = job.plan.iterations
    return finished


def _fold(run: Run, fold: int, split: Split, options: TrainOptions, device: DeviceName) -> Fold:
    first = run.plan().stages[0]
    key = plan_digest(first)
    with remembered(run.digests_file):
        sides = {side: read_cases(run.cache, ids, key) for side, ids in split.sides().items()}
    training = sides["training"]
    _require_labels(run, fold, training)
    job = _job(run, first, run.fold(fold), sides, options, device)
    return replace(job, has_second=run.plan().finer is not None)


def _second(run: Run, fold: int, first: Fold, options: TrainOptions, track: Track, ending: Ending) -> Fold | None:
    """Return the training of the second stage of a fold, once it is made what that sees of each case; None: ended."""
    (plan,) = run.plan().stages[1:]
    device, files = first.plan.device, run.stage(1).fold(fold)
    weights = weights_digest(first.files.model)
    if forget_other_first_stage(files, weights):
        logger.warning("fold %d: the first stage has changed, so the second begins anew", fold)
    with remembered(run.digests_file):
        cases = second_cases(
            open_first(first.files.model, device),
            weights,
            plan,
            first.training,
            first.validation,
            partial(second_sources, run),
            files.cases,
            track,
            is_begun=planned_iterations(files) is not None,
            stop=ending.is_near,
        )
    release_memory(device)  # of the first stage's tiles: the step may be measured in another process
    if cases is None:
        return None
    if not cases.training:
        raise PlanError(f"{first.files.model}: finds none of the organs of a second stage in any case; train it longer")
    sides = {"training": cases.training, "validation": cases.validation, "testing": ()}
    if options.later_iterations is not None:
        options = replace(options, iterations=options.later_iterations)
    job = _job(run, plan.model_copy(update={"margin_mm": cases.margin_mm}), files, sides, options, device)
    return replace(job, first_stage=weights)


def _job(
    run: Run,
    plan: Plan,
    files: FoldFolder,
    sides: Mapping[str, tuple[CachedCase, ...]],
    options: TrainOptions,
    device: DeviceName,
) -> Fold:
    """Return the training of one stage of a fold, given its cases by side."""
    workers = options.workers
    if workers is None:
        workers = default_workers(None, device, batch_bytes(plan, world_size()))
    shape = sides["training"][0].working.shape if sides["training"] else (1, 1, 1)
    return Fold(
        plan=_training_plan(run, plan, files, options, device, shape, workers),
        training=sides["training"],
        validation=sides["validation"],
        testing=sides["testing"],
        files=files,
        workers=workers,
        patience=options.patience,
        tensorboard=options.tensorboard,
    )


def _require_labels(run: Run, fold: int, training: tuple[CachedCase, ...]) -> None:
    """Refuse to train where an organ is labelled in no case: nothing would tell it from background."""
    nowhere = set.intersection(*(set(case.hidden) for case in training)) if training else set()
    if nowhere:
        names = ", ".join(organ.name for index, organ in run.plan().scheme.organs.items() if index in nowhere)
        raise PlanError(
            f"{run.split_file}: no training case of fold {fold} is labelled with {names}; change the split, or leave "
            "it out of the labels"
        )


def _trained(job: Fold, tell: Callable[[Progress], None], stop: Callable[[], bool]) -> bool:
    """Train a fold; where its step does not fit the device, say which would."""
    budget = detect_budget(job.plan.device, None, free_memory_gib(), world_size())
    try:
        return train_fold(job, tell, stop)
    except TooLittleMemoryError as error:
        less = replace(budget, memory_gib=LESS * min(budget.memory_gib, step_gib(job.plan, budget) / GPU_SHARE))
        raise TooLittleMemoryError(
            f"a step of batch {job.plan.batch_size} and crop {job.plan.crop_size} does not fit into what "
            f"{job.plan.device} has free; {nearest_fit(job.plan, less)} (with `autoseg plan … --force`)"
        ) from error


def device_of(plan: Plan, name: str | None) -> DeviceName:
    """Return where to train: the device that the user names, else the plan's, where this machine has it."""
    device = pick_device(name or (plan.device if _has(plan.device) else "auto"))
    if device != plan.device:
        logger.warning("the plan is for %s, training on %s", plan.device, device)
    return device


def _training_plan(
    run: Run, plan: Plan, files: FoldFolder, options: TrainOptions, device: DeviceName, shape: Voxels, workers: int
) -> Plan:
    """Return the plan with the device and the iterations of this training; once begun, they stay."""
    began = time.monotonic()
    require_crops(plan, world_size())
    plan = plan.model_copy(update={"device": device})
    begun = planned_iterations(files, plan)
    if begun is None:
        _require_memory(plan, run)
    if options.iterations is not None:
        iterations = options.iterations
    elif begun is not None:
        iterations = begun
        if options.time_budget_s is not None:
            logger.warning(
                "%s: --time-budget counts when a training begins; this one has %s, and --iterations N trains on",
                files.folder.name.replace("-", " "), counted(begun, "iteration"),
            )  # fmt: skip
    elif options.time_budget_s is not None:
        iterations = _fitting(plan, options.time_budget_s / len(run.plan().stages), began, shape, workers)
    else:
        iterations = plan.iterations
    return with_settings(plan, {"iterations": str(iterations)})


def _require_memory(plan: Plan, run: Run, prefix: str = "") -> None:
    """Refuse a plan whose step the device cannot hold: it may have been edited, or made for another machine."""
    budget = detect_budget(plan.device, None, free_memory_gib(), world_size())
    gib = step_gib(plan, budget)
    if gib > budget.memory_gib:
        way_out = nearest_fit(plan, budget, prefix)
        raise PlanError(
            f"{run.plan_file}: a step {'of the second stage ' * bool(prefix)}takes about {gib:.1f} GiB, this "
            f"{budget.device} has {budget.memory_gib:.1f}; {way_out} (with `autoseg plan … --force`, or in the file)"
        )
    require_indexable(plan, budget, prefix)


def _require_later(run: Run, splits: Mapping[int, Split], device: DeviceName) -> None:
    """Refuse, before the first stage is trained, a second one whose step does not fit or whose images are not there."""
    for number, plan in enumerate(run.plan().stages[1:], start=1):
        later = {fold: run.stage(number).fold(fold) for fold in splits}
        due = [fold for fold, files in later.items() if planned_iterations(files) is None]
        if due:
            _require_memory(plan.model_copy(update={"device": device}), run, FINER)
        unmade = [splits[fold] for fold in due if not later[fold].cases.is_dir()]
        names = {name for split in unmade for name in (*split.training, *split.validation)}
        if names:
            second_sources(run, sorted(names))


def _fitting(plan: Plan, time_budget_s: float, began: float, shape: Voxels, workers: int) -> int:
    """Return how many iterations fit what is left of a time budget when they have been measured."""
    machines = world_size() // process_place().local_size
    measures = process_rank() == 0  # one measures for all: the others would only disturb
    measured = measure_step(share_of(plan, world_size()), shape, workers, world_size(), machines) if measures else None
    left_s = ITERATIONS_SHARE * (time_budget_s - (time.monotonic() - began))
    fitting = max(1, int(left_s / measured.seconds_per_iteration)) if measured else 0
    iterations = int(from_first(fitting))
    if measured:
        warn_of_others(measured, "begin anew (Ctrl-C, remove the fold's folder)")
        warn_of_few(iterations, measured.seconds_per_iteration)
    if not iterations:
        raise PlanError(f"{plan.device}: too little memory for one iteration; plan again, or --set batch_size=1")
    return iterations


def _has(device: str) -> bool:
    try:
        pick_device(device)
    except PlanError:
        return False
    return True


def _telling(
    tell: Callable[[int, Progress], None], fold: int, turn: tuple[int, int], stage: int
) -> Callable[[Progress], None]:
    return lambda progress: tell(fold, replace(progress, stage=stage, turn=turn))
