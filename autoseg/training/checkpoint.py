"""Checkpoints: everything that training needs to go on to the bit, in tensors and JSON.

Where a checkpoint is damaged or gone, training goes on from the model beside it, though not to the bit: the optimiser
begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from autoseg.data.cache import CachedCase, cases_digest
from autoseg.errors import AutosegError, DamagedModelError, ModelError
from autoseg.network.weights import MODEL, load_tensors, parse_facts, read_facts, save_tensors, tensors_under
from autoseg.plan import Plan, parse_plan
from autoseg.run import FoldFolder
from autoseg.training.state import Snapshot, State, moments_of, no_moments
from autoseg.words import shortened

logger = logging.getLogger(__name__)
CHECKPOINT = "autoseg checkpoint 1"
# what may change between a run and its continuation
FREE = {"iterations", "device", "tile_depth", "tile_overlap", "tile_weights"}


def save_checkpoint(file: Path, plan: Plan, cases: str, taken: Snapshot, *, first_stage: str = "") -> None:
    """Write a checkpoint, atomically; batches and learning rates follow from the iteration.

    Args:
        file: Where.
        plan: Of the training.
        cases: Key of the training cases, from `cases_digest`.
        taken: Weights, moments and iteration.
        first_stage: Of a second stage, a digest of the weights of the first.
    """
    facts = {"plan": plan.model_dump_json(), "cases": cases, "iteration": str(taken.done)}
    facts["rate_factor"] = repr(taken.rate_factor)
    if first_stage:
        facts["first_stage"] = first_stage
    save_tensors(file, CHECKPOINT, taken.tensors, facts)


def load_checkpoint(file: Path, plan: Plan, cases: str, state: State) -> None:
    """Fill a state from a checkpoint.

    Raises:
        DamagedModelError: If the file is damaged.
        ModelError: If it was made under a plan that differs in what matters for training, or on other cases.
    """
    tensors, facts = load_tensors(file, CHECKPOINT)
    _require_same(file, facts, plan, has_same_cases=facts.get("cases") == cases)
    state.done = int(facts["iteration"])
    state.rate_factor = float(facts.get("rate_factor", "1"))
    try:
        state.network.load_state_dict(tensors_under(tensors, "network."))
        if state.average is not None:
            state.average.load_state_dict(tensors_under(tensors, "average."))
        _fill(state.optimiser, tensors_under(tensors, "optimiser."), begun=state.done > 0)
    except (RuntimeError, KeyError) as error:
        reason = shortened(str(error).splitlines()[-1], 200)
        raise ModelError(f"{file}: its tensors do not fit its plan ({reason}); remove it to begin anew") from error


def resume(files: FoldFolder, plan: Plan, training: Sequence[CachedCase], state: State) -> bool:
    """Fill a state from what a fold's training has left: from its checkpoint, else from its model.

    Args:
        files: Of the fold.
        plan: Of the training.
        training: Its cases; a model knows them by their ids alone.
        state: To fill; it stays as it is where the training has left nothing.

    Returns:
        Whether all that belongs to this state is on the disk; else it is to be saved.

    Raises:
        DamagedModelError: If neither is sound.
        ModelError: If it was made under a plan that differs in what matters for training, or on other cases.
    """
    if not _has_begun(files, plan):
        return False
    try:
        _require_there(files.checkpoint)
        load_checkpoint(files.checkpoint, plan, cases_digest(training), state)
    except DamagedModelError as error:
        tensors, facts = _model_beside(files, error)
        same_cases = {case.id for case in training} == set(facts["trained_on"])
        _require_same(files.model, facts, plan, has_same_cases=same_cases)
        _fill_from_model(state, tensors, facts["iteration"])
        logger.warning(
            "%s; going on from the model of iteration %d, without the optimiser's moments", _damage(error), state.done
        )
        return False
    return _is_sound(files.model)


def forget_other_first_stage(files: FoldFolder, first_stage: str) -> bool:
    """Remove what a second stage's training behind another first stage has left; return whether it did.

    Args:
        files: Of the fold.
        first_stage: A digest of the weights of the first stage that there is now.
    """
    before = set[str]()
    with suppress(ModelError):
        before.add(read_facts(files.checkpoint, CHECKPOINT).get("first_stage", ""))
    with suppress(ModelError):
        before.add(parse_facts(read_facts(files.model, MODEL), files.model).get("first_stage", ""))
    if before <= {first_stage, ""}:  # what is missing was not noted yet
        return False
    files.checkpoint.unlink(missing_ok=True)
    files.model.unlink(missing_ok=True)
    return True


def planned_iterations(files: FoldFolder, plan: Plan | None = None) -> int | None:
    """Return how many iterations the training of a fold was to have; None where it has not begun.

    Args:
        files: Of the fold.
        plan: That it is to go on under: one that had learnt nothing under another plan has not begun.

    Raises:
        DamagedModelError: If neither checkpoint nor model is sound.
    """
    if not _has_begun(files, plan):
        return None
    try:
        _require_there(files.checkpoint)
        facts: Mapping[str, Any] = read_facts(files.checkpoint, CHECKPOINT)
    except DamagedModelError as error:
        _, facts = _model_beside(files, error)
    return parse_plan(facts.get("plan", ""), str(files.checkpoint)).iterations


def _has_begun(files: FoldFolder, plan: Plan | None) -> bool:
    """Return whether a training has left anything that counts under a plan: of iteration 0 only the same plan does."""
    if files.model.is_file() or not files.checkpoint.is_file():
        return files.model.is_file()
    with suppress(AutosegError):  # damaged: whoever reads it says so
        facts = read_facts(files.checkpoint, CHECKPOINT)
        if facts.get("iteration") == "0" and plan is not None:
            return not _changed(parse_plan(facts.get("plan", ""), str(files.checkpoint)), plan)
    return True


def _changed(before: Plan, plan: Plan) -> list[str]:
    """Return the keys of a plan that a training cannot go on with when they change."""
    old, new = (one.model_dump(exclude=FREE) for one in (before, plan))
    return [key for key in {**old, **new} if old.get(key) != new.get(key)]  # what is not set may be left out


def _require_there(checkpoint: Path) -> None:
    if not checkpoint.is_file():
        raise DamagedModelError(f"{checkpoint}: is gone")


def _require_same(file: Path, facts: Mapping[str, Any], plan: Plan, has_same_cases: bool) -> None:
    if changed := _changed(parse_plan(facts.get("plan", ""), str(file)), plan):
        raise ModelError(
            f"{file}: was trained under another plan ({', '.join(changed)} differ); "
            f"restore the plan or remove {file.parent} to begin anew"
        )
    if not has_same_cases:
        raise ModelError(
            f"{file}: was trained on other cases (the split or the data changed); "
            f"restore them or remove {file.parent} to begin anew"
        )


def _model_beside(files: FoldFolder, error: DamagedModelError) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and facts of a fold's model, its plan among them, in place of a checkpoint.

    Raises:
        DamagedModelError: If it is not sound, either.
    """
    try:
        tensors, texts = load_tensors(files.model, MODEL)
        facts = parse_facts(texts, files.model)
        return tensors, {"plan": texts["plan"], "iteration": facts["iteration"], "trained_on": facts["trained_on"]}
    except (ModelError, KeyError) as also:
        raise DamagedModelError(
            f"{_damage(error)}, and no sound model lies beside it; restore one of them from a backup, or remove "
            f"{files.folder} to begin anew"
        ) from also


def _damage(error: DamagedModelError) -> str:
    """Return what is wrong with a checkpoint, without the way out for a file that was copied."""
    return str(error).replace("not a model file", "no checkpoint").removesuffix("; copy it again")


def _is_sound(model: Path) -> bool:
    try:
        load_tensors(model, MODEL)
    except ModelError:
        return False
    return True


def _fill_from_model(state: State, tensors: Mapping[str, Tensor], iteration: int) -> None:
    """Set weights and average to those of a model; the optimiser has seen no step."""
    for network in filter(None, (state.network, state.average)):
        network.load_state_dict(tensors)
    every = ((n, no_moments(p, state.optimiser)) for n, p in enumerate(state.parameters))
    moments = {f"{n}.{key}": zero for n, of_one in every for key, zero in of_one.items()}
    _fill(state.optimiser, moments, begun=True)
    state.done = iteration


def _fill(optimiser: Optimizer, tensors: dict[str, Tensor], begun: bool) -> None:
    """Set the optimiser's moments, in the memory format of their parameters, as its fused form needs."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for number, parameter in enumerate(parameters if begun else []):
        moments = [(key, torch.empty_like(parameter)) for key in moments_of(parameter, optimiser)]
        with torch.no_grad():
            state[number] = {key: empty.copy_(tensors[f"{number}.{key}"]) for key, empty in moments}
        state[number]["step"] = tensors[f"{number}.step"].clone()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def identity(file: Path) -> tuple[int, int, int] | None:
    """Return what tells a written file from another of the same name: inode, size (bytes), time (ns); None: no file."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
