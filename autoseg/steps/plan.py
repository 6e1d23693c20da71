"""check and plan: from a dataset to a plan in RUN."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoseg.data.cache import ORGAN_VOXELS
from autoseg.dataset.examine import CaseFacts, Examination
from autoseg.dataset.findings import Finding, write_check
from autoseg.dataset.fingerprint import Fingerprint, fingerprint
from autoseg.dataset.load import Dataset, load_dataset
from autoseg.dataset.origin import digest_of, origin_of, read_origin
from autoseg.dataset.split import Split, load_splits, make_splits, save_splits, without
from autoseg.errors import AutosegError, DatasetError, PlanError
from autoseg.files import write_text
from autoseg.imaging.grid import working_shape
from autoseg.machine import free_memory_gib, usable_cores
from autoseg.network.device import pick_device
from autoseg.network.distributed import require_devices
from autoseg.options import PlanOptions
from autoseg.plan import Plan
from autoseg.planning.budget import Budget, detect_budget, step_gib
from autoseg.planning.context import Context
from autoseg.planning.explain import explain
from autoseg.planning.fit import fit_plan
from autoseg.planning.planner import Decision
from autoseg.planning.presets import load_preset, preset_plan
from autoseg.planning.recipe import grid_of
from autoseg.planning.search import PlanSearch
from autoseg.pool import Track, untracked
from autoseg.run import Run
from autoseg.steps.check import check
from autoseg.training.measure import measure_step
from autoseg.words import counted

logger = logging.getLogger(__name__)


def comparable(options: PlanOptions) -> dict[str, Any]:
    """Return the options as plain values, to be compared with those of another call.

    Measuring, length and GPUs are not among them: a RUN that is planned stays so when it is given more of them.
    """
    values = {**vars(options), "settings": dict(options.settings), "exclude": list(options.exclude)}
    values["split"] = None if options.split is None else _text_of(options.split)
    if options.preset is not None and options.preset.endswith(".json"):
        values["preset"] = _text_of(Path(options.preset))
    for name in ("measure", "time_budget_s", "iterations", "gpus", "force", "jobs"):
        del values[name]
    return values


def _text_of(file: Path) -> str:
    """Return the digest of a file that an option names: another text means another plan."""
    return digest_of(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else str(file)


def plan(path: Path, run: Run, options: PlanOptions, track: Track = untracked) -> Decision:
    """Check the dataset, decide, and write check.json, fingerprint.json, split.json, plan.json and plan.md.

    Raises:
        DatasetError: If cases are unusable and not excluded.
        PlanError: If the plan in RUN was edited and --force is not given, or no valid plan can be made.
    """
    _require_startable(run, options)
    budget, here = _budget(options)
    if options.time_budget_s is not None and not here:
        raise PlanError("--time-budget: only the machine that trains can be measured; give it to `autoseg train` there")
    preset = None if options.preset is None else load_preset(options.preset)
    checked = check(path, options.jobs, track)
    dataset, examinations, findings = checked.dataset, checked.examinations, checked.findings
    jobs = options.jobs or usable_cores()
    write_check(findings, _made(run) / "check.json")
    facts = _usable(dataset, examinations, findings, options)
    splits = _splits(dataset, facts, options)
    usable = [f.case for f in facts]
    facts = [f for f in facts if any(f.case in fold.cases() for fold in splits)]
    tested = set.intersection(*(set(fold.testing) for fold in splits))  # testing cases choose nothing
    seen = [f for f in facts if f.case not in tested]
    found = fingerprint(dataset, seen)
    choosing = replace(dataset, cases=tuple(c for c in dataset.cases if c.id in {f.case for f in seen}))
    derive = PlanSearch(found=found, seed=options.seed, dataset=choosing, jobs=jobs, track=track)
    decision = derive(budget) if preset is None else _preset(preset, found, budget, options)
    settled = fit_plan(decision, found, budget, derive, options, measure_step if here else None)
    derive.measure_grids(settled.decision)
    told = Context(
        found=found,
        budget=settled.budget,
        findings=findings,
        ceilings=derive.ceilings,
        cache_bytes=_cache_bytes(settled.decision.plan, facts),
        cases=len(facts),
        splits=splits,
        unlisted=sorted(set(usable) - {f.case for f in facts}),
        measured=settled.measured,
        corrected=settled.corrected,
        training_s=settled.training_s,
    )
    _write(run, path, dataset, options, splits, settled.decision, told)
    return settled.decision


def _preset(preset: dict[str, Any], found: Fingerprint, budget: Budget, options: PlanOptions) -> Decision:
    """Return the decision for a preset: nothing is derived, but its step is counted."""
    made = preset_plan(found, budget.device, preset, options.seed, f"--preset {options.preset}")
    return Decision(plan=made, grids=(grid_of(made, found),), chosen=None, step_gib=step_gib(made, budget))


def is_planned(path: Path, run: Run, options: PlanOptions) -> bool:
    """Return whether RUN has a plan of this dataset, as it is now, made with these options; or an edited one."""
    if not run.plan_file.is_file():
        return False
    if is_edited(run):
        return True
    origin = read_origin(run)
    now = origin_of(path, load_dataset(path), comparable(options), run)
    return all(origin.get(key) == now[key] for key in ("dataset", "files", "options"))


def is_edited(run: Run) -> bool:
    """Return whether plan.json is another than the one `plan` wrote."""
    return run.plan_file.is_file() and read_origin(run).get("plan") != digest_of(
        run.plan_file.read_text(encoding="utf-8")
    )


def _require_startable(run: Run, options: PlanOptions) -> None:
    """Refuse what can be refused before any case is read."""
    if run.folder.exists() and not run.folder.is_dir():
        raise PlanError(f"{run.folder}: RUN must be a folder, and this is a file; give another name")
    if options.split is not None and not options.split.is_file():
        raise PlanError(f"--split {options.split}: there is no such file; correct the path")
    options.require_compatible()
    if not options.force and is_edited(run):
        raise PlanError(
            f"{run.plan_file}: was edited by hand; keep it and go on with `autoseg preprocess`, or use --force"
        )


def _usable(
    dataset: Dataset, examinations: Sequence[Examination], findings: Sequence[Finding], options: PlanOptions
) -> list[CaseFacts]:
    known = {case.id for case in dataset.cases}
    unknown = [name for name in options.exclude if name not in known]
    if unknown:
        raise DatasetError(f"--exclude {unknown[0]}: {dataset.root} has no such case; write its id as `check` does")
    fatal = sorted({f.case for f in findings if f.severity == "fatal" and f.case not in options.exclude})
    if fatal:
        first = next(f for f in findings if f.severity == "fatal" and f.case == fatal[0])
        leave_out = " ".join(f"--exclude {name}" for name in fatal[:8] if name)
        raise DatasetError(
            f"{dataset.root}: {counted(len(fatal), 'case')} cannot be used ({first.case or 'dataset'}: {first.found}); "
            f"correct them, see `autoseg check`, or leave them out: {leave_out}"
        )
    usable = [e.facts for e in examinations if e.facts is not None and e.case not in options.exclude]
    if not usable:
        raise DatasetError(f"{dataset.root}: no usable case is left; correct some, see `autoseg check`")
    return usable


def _budget(options: PlanOptions) -> tuple[Budget, bool]:
    """Return what to plan for, and whether that is this machine."""
    device = pick_device("auto" if options.gpu_memory_gib is not None else options.device)
    here = options.gpu_memory_gib is None or device == "cuda"
    if options.gpu_memory_gib is None:
        require_devices(device, options.gpus)
    budget = detect_budget(device, options.gpu_memory_gib, free_memory_gib(), options.gpus)
    return budget, here


def _splits(dataset: Dataset, facts: Sequence[CaseFacts], options: PlanOptions) -> tuple[Split, ...]:
    patients = {case.id: case.patient for case in dataset.cases}
    if options.split is None:
        return make_splits({f.case: f.values for f in facts}, options.seed, options.folds, patients=patients)
    splits = load_splits(options.split, tuple(patients), patients)
    return tuple(without(fold, options.exclude) for fold in splits)


def _cache_bytes(made: Plan, facts: Sequence[CaseFacts]) -> int:
    """Return what the cached cases will take: float16 images, uint8 label maps, samples of the organs' voxels."""
    shapes = [working_shape(f.grid, made.spacing_mm, made.downsampling) for f in facts]
    voxels = sum(math.prod(shape) for shape in shapes)
    return voxels * (2 * len(made.channels) + 1) + len(facts) * len(made.labels) * 8 * ORGAN_VOXELS


def _write(
    run: Run,
    path: Path,
    dataset: Dataset,
    options: PlanOptions,
    splits: Sequence[Split],
    decision: Decision,
    told: Context,
) -> None:
    write_text(run.fingerprint_file, told.found.model_dump_json(indent=1))
    save_splits(splits, run.split_file)
    write_text(run.folder / "plan.md", explain(decision, told))
    _warn_of_trained(run, decision.plan)
    text = decision.plan.model_dump_json(indent=1) + "\n"
    origin = origin_of(path, dataset, comparable(options), run) | {"plan": digest_of(text)}
    run.plan_file.unlink(missing_ok=True)  # or, after a kill between the two, it would look edited by hand
    write_text(run.dataset_file, json.dumps(origin, indent=1))
    write_text(run.plan_file, text)


def _warn_of_trained(run: Run, made: Plan) -> None:
    """Say that what was trained does not go on under a plan that differs in more than its length."""
    with suppress(AutosegError):  # a plan that cannot be read is replaced without a word
        for fold in run.folds() if run.plan().model_copy(update={"iterations": made.iterations}) != made else ():
            logger.warning(
                "%s: was trained under another plan, so its training cannot go on; remove it, or plan into another RUN",
                run.fold(fold),
            )


def _made(run: Run) -> Path:
    run.folder.mkdir(parents=True, exist_ok=True)
    return run.folder
