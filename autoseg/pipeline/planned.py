"""check and plan: from a dataset to a plan in RUN."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from autoseg.errors import AutosegError, DatasetError, PlanError
from autoseg.files import write_text
from autoseg.grid import Grid, working_shape
from autoseg.network.device import pick_device
from autoseg.pipeline.origin import digest_of, origin_of, read_origin
from autoseg.plan import Plan, with_settings
from autoseg.planning.check import all_findings
from autoseg.planning.dataset import Dataset, load_dataset
from autoseg.planning.examine import CaseFacts, Examination, examine_case
from autoseg.planning.explain import explain
from autoseg.planning.findings import Finding, write_check
from autoseg.planning.fingerprint import Fingerprint, fingerprint
from autoseg.planning.planner import (
    Budget,
    Decision,
    derive_plan,
    detect_budget,
    load_preset,
    preset_plan,
    ratio,
    step_gib,
)
from autoseg.planning.split import make_splits, save_splits
from autoseg.run import Run
from autoseg.training.measure import seconds_per_iteration
from autoseg.workers import Track, default_workers, each, free_memory_gib, untracked

CPU_TRAINING_S = 36 * 60.0  # a CPU plan's iterations are those that fit
FEWEST_ITERATIONS = 100


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What the user asks of `plan`."""

    preset: str | None = None
    gpu_memory_gib: float | None = None
    device: str = "auto"
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    folds: int = 1
    measure: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the options as plain values, to be compared with those of another call."""
        values = {**self.__dict__, "settings": dict(self.settings), "exclude": list(self.exclude)}
        del values["measure"]
        return values


def check(path: Path, jobs: int, track: Track = untracked) -> tuple[Dataset, list[Examination], list[Finding]]:
    """Examine every case of a dataset; return what was found, the worst first.

    Raises:
        DatasetError: If the dataset as a whole cannot be understood.
    """
    dataset = load_dataset(path)
    examine = partial(examine_case, dataset=replace(dataset, cases=()))
    work = {case.id: case for case in dataset.cases}
    found: dict[str, Examination] = {}
    extra: list[Finding] = []
    for name, result in track(each(examine, work, jobs), "Checking", len(work)):
        if isinstance(result, AutosegError):
            extra.append(
                Finding(case=name, file="", code="crashed", severity="fatal", found=str(result), fix="use -j 1")
            )
        else:
            found[name] = result
    examinations = [found[case.id] for case in dataset.cases if case.id in found]
    return dataset, examinations, [*extra, *all_findings(examinations, dataset)]


def plan(path: Path, run: Run, options: PlanOptions, jobs: int, force: bool, track: Track = untracked) -> Decision:
    """Check the dataset, decide, and write check.json, fingerprint.json, split.json, plan.json and plan.md.

    Raises:
        DatasetError: If cases are unusable and not excluded.
        PlanError: If the plan in RUN was edited and `force` is not given, or no valid plan can be made.
    """
    if not force and is_edited(run):
        raise PlanError(
            f"{run.plan_file}: was edited by hand; keep it and go on with `autoseg preprocess`, or use --force"
        )
    if options.gpu_memory_gib is not None and options.device not in ("auto", "cuda"):
        raise PlanError(f"--gpu-memory plans for CUDA and --device {options.device} does not; give one of them")
    device = pick_device("auto" if options.gpu_memory_gib is not None else options.device)
    budget = detect_budget(device, options.gpu_memory_gib, free_memory_gib())
    preset = None if options.preset is None else load_preset(options.preset)
    dataset, examinations, findings = check(path, jobs, track)
    write_check(findings, _made(run) / "check.json")
    facts = _usable(dataset, examinations, findings, options)
    patients = {case.id: case.patient for case in dataset.cases}
    splits = make_splits({f.case: f.values for f in facts}, options.seed, options.folds, patients=patients)
    testing = splits[0].testing if options.folds == 1 else ()  # testing cases choose nothing
    found = fingerprint(dataset, [f for f in facts if f.case not in testing])
    if preset is None:
        decision = derive_plan(found, budget, options.seed)
    else:
        decision = preset_plan(found, budget, preset, options.seed, f"--preset {options.preset}")
    decision, seconds = _settled(decision, found, budget, device, options)
    write_text(run.folder / "fingerprint.json", found.model_dump_json(indent=1))
    save_splits(splits, run.split_file)
    write_text(run.folder / "plan.md", explain(found, decision, budget, findings, seconds))
    text = decision.plan.model_dump_json(indent=1) + "\n"
    origin = origin_of(path, dataset, options.as_json(), run) | {"plan": digest_of(text)}
    write_text(run.dataset_file, json.dumps(origin, indent=1))
    write_text(run.plan_file, text)
    return decision


def is_planned(path: Path, run: Run, options: PlanOptions) -> bool:
    """Return whether RUN has a plan of this dataset, as it is now, made with these options; or an edited one."""
    if not run.plan_file.is_file():
        return False
    if is_edited(run):
        return True
    origin = read_origin(run)
    now = origin_of(path, load_dataset(path), options.as_json(), run)
    return all(origin.get(key) == now[key] for key in ("dataset", "files", "options"))


def is_edited(run: Run) -> bool:
    """Return whether plan.json is another than the one `plan` wrote."""
    return run.plan_file.is_file() and read_origin(run).get("plan") != digest_of(
        run.plan_file.read_text(encoding="utf-8")
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
            f"{dataset.root}: {len(fatal)} cases cannot be used ({first.case or 'dataset'}: {first.found}); "
            f"correct them, see `autoseg check`, or leave them out: {leave_out}"
        )
    return [e.facts for e in examinations if e.facts is not None and e.case not in options.exclude]


def _settled(
    decision: Decision, found: Fingerprint, budget: Budget, device: str, options: PlanOptions
) -> tuple[Decision, float | None]:
    """Apply the user's settings; measure where that is wanted or a CPU plan needs it; fix the iterations."""
    settings = with_settings(decision.plan, dict(options.settings)) if options.settings else decision.plan
    settings = _on_one_grid(settings, found, options)
    own_iterations = decision.chosen is not None and budget.device == "cpu" and "iterations" not in options.settings
    here = budget.device == device and options.gpu_memory_gib is None
    seconds = None
    if here and (options.measure or own_iterations):
        median = Grid(shape=found.median_shape, spacing_mm=found.median_spacing_mm)
        shape = working_shape(median, settings.spacing_mm, settings.downsampling)
        seconds = seconds_per_iteration(settings, shape, default_workers())
        if own_iterations:
            fitting = max(FEWEST_ITERATIONS, int(CPU_TRAINING_S / seconds))
            settings = settings.model_copy(update={"iterations": fitting})
    cost = step_gib(settings, budget) if options.settings else decision.step_gib
    return replace(decision, plan=settings, step_gib=cost, changed=tuple(options.settings)), seconds


def _on_one_grid(plan: Plan, found: Fingerprint, options: PlanOptions) -> Plan:
    """Bring spacing and downsampling together again after one of them was set; the spacing governs."""
    if plan.spacing_mm is None:
        return plan
    median = found.median_spacing_mm
    if "downsampling" in options.settings and "spacing_mm" not in options.settings:
        z, y, x = (f * m for f, m in zip(plan.downsampling, median, strict=True))
        return plan.model_copy(update={"spacing_mm": (z, y, x)})
    return plan.model_copy(update={"downsampling": ratio(plan.spacing_mm, median)})


def _made(run: Run) -> Path:
    run.folder.mkdir(parents=True, exist_ok=True)
    return run.folder
