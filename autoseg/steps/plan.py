"""check and plan: from a dataset to a plan in RUN."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autoseg.data.cache import cache_bytes
from autoseg.dataset.findings import Finding, write_check
from autoseg.dataset.fingerprint import Fingerprint, fingerprint
from autoseg.dataset.load import Dataset, load_dataset, of_cases
from autoseg.dataset.origin import origin_of
from autoseg.dataset.split_file import splits_text
from autoseg.digests import remembered, text_digest
from autoseg.errors import PlanError
from autoseg.files import write_generation
from autoseg.imaging.grid import Voxels
from autoseg.options import PlanOptions
from autoseg.part_notes import clear_notes
from autoseg.plan import Plan
from autoseg.planning.budget import StepCost, choose_budget
from autoseg.planning.choose_stages import FittedStages, StagesChoice
from autoseg.planning.explain import Context, explain
from autoseg.planning.fit import Measure
from autoseg.planning.planner import Decision, Planner
from autoseg.planning.presets import load_preset, preset_decision
from autoseg.planning.requirements import require_one_device
from autoseg.planning.stages import options_of_stages
from autoseg.pool import Crew, Track, untracked
from autoseg.run import Run
from autoseg.settings import require_values
from autoseg.steps.check import check
from autoseg.steps.cohort import Cohort, cohort_of, comparable, require_cases, tell_of
from autoseg.steps.crew import cluster_of
from autoseg.steps.earlier_plan import is_edited, keeping_rates, keeping_stages, warn_of_trained
from autoseg.training.measure import measure_step

logger = logging.getLogger(__name__)
RATE_KEYS = {"learning_rate", "optimiser", "optimiser.name"}  # what follows from the length of a training
NNUNET_KEYS = {"patch_size": "crop_size", "num_epochs": "iterations", "initial_lr": "learning_rate"}  # to ours


def plan(path: Path, run: Run, options: PlanOptions, track: Track = untracked) -> Decision:
    """Check the dataset, decide, and write check.json, fingerprint.json, split.json, plan.json and plan.md.

    Raises:
        DatasetError: If cases are unusable and not excluded.
        PlanError: If the plan in RUN was edited and --force is not given, or no valid plan can be made.
        LockedError: If another process writes to RUN.
    """
    with run.locked("plan"):
        kept = keeping_stages(path, run, options)
        _require_startable(run, kept)
        with cluster_of(options.cluster, run.folder) as cluster:
            try:
                decision = _plan(path, run, kept, cluster, track)
            except PlanError as error:
                if kept is options or not str(error).startswith("--stages"):
                    raise
                raise PlanError(f"{run.folder}: its stages are kept, as it is trained: {error}") from error
        clear_notes(run.check_file, "autoseg plan")
        return decision


def examine_part(path: Path, run: Run, options: PlanOptions, track: Track = untracked) -> int:
    """Examine a part of the cases, for the `plan` that gathers; return how many could be.

    Raises:
        DatasetError: If the dataset as a whole cannot be understood.
        CasesFailedError: When all others are done, if the workers of some cases were lost.
        LockedError: If another process that does not do another part writes to RUN.
    """
    with run.locked("plan", options.part):
        _require_startable(run, keeping_stages(path, run, options))
        with cluster_of(options.cluster, run.folder) as crew:
            dataset = load_dataset(path)
            require_cases(dataset, options)
            return len(check(dataset, options.jobs, track, crew, run.check_file, options.part).examinations)


def _plan(path: Path, run: Run, options: PlanOptions, cluster: Crew | None, track: Track) -> Decision:
    decision, context, dataset = _decide(path, run, options, cluster, track)  # the facts of all cases are gone here
    with remembered(run.digests_file):
        _write(run, path, dataset, options, decision, context)
    return decision


def _decide(
    path: Path, run: Run, options: PlanOptions, cluster: Crew | None, track: Track
) -> tuple[Decision, Context, Dataset]:
    """Return what is decided, what explains it, and the dataset that it is for."""
    budget, is_local = choose_budget(options)
    if options.time_budget_s is not None and not is_local:
        raise PlanError("--time-budget: only the machine that trains can be measured; give it to `autoseg train` there")
    preset = None if options.preset is None else load_preset(options.preset)
    if preset is not None and preset.get("finer"):
        _require_two_stages(options)
    dataset = load_dataset(path)
    require_cases(dataset, options)
    checked = check(dataset, options.jobs, track, cluster, run.check_file)
    write_check(checked.findings, run.check_file)
    cohort = cohort_of(path, checked, options, run)
    data = fingerprint(checked.dataset, cohort.choosing)
    planner = Planner(
        fingerprint=data,
        seed=options.seed,
        dataset=of_cases(checked.dataset, {one.case for one in cohort.choosing}),
        crew=checked.crew,
        track=track,
    )

    def derive() -> Decision:
        decision = planner.derive(budget) if preset is None else preset_decision(data, budget, preset, options)
        require_one_device(decision.plan, options.gpus)
        return decision

    fitted = StagesChoice(
        planner=planner,
        facts=cohort.choosing,
        budget=budget,
        options=options,
        measure=_measuring(track) if is_local else None,
        derive=derive,
    ).fitted()
    decision = fitted.decision
    if preset is None and not RATE_KEYS & set(options.settings):
        decision = replace(decision, plan=keeping_rates(run, decision.plan))
    tell_of(cohort)
    return decision, _context(fitted, data, checked.findings, cohort), checked.dataset


def _require_two_stages(options: PlanOptions) -> None:
    """Refuse what cannot be asked of a preset of two stages.

    Raises:
        PlanError: If one stage is asked for, or a time, of which none says how the stages share it.
    """
    if options.stages == 1:
        raise PlanError(f"--stages 1: the preset {options.preset} has two; leave --stages out, or plan without it")
    if options.time_budget_s is not None:
        raise PlanError(
            f"--time-budget: the preset {options.preset} says how long each of its two stages trains; leave it out, or "
            "give --iterations"
        )


def _measuring(track: Track) -> Measure:
    """Return what measures a step while that is shown."""

    def measure(plan: Plan, shape: Voxels, workers: int, processes: int) -> StepCost | None:
        step = (measure_step(plan, shape, workers, processes) for _ in range(1))
        (cost,) = track(step, "Measuring a training step", 1)
        return cost

    return measure


def _context(stages: FittedStages, data: Fingerprint, findings: Sequence[Finding], cohort: Cohort) -> Context:
    """Return what the explanation of a plan needs to know beside it."""
    fitted = stages.first
    return Context(
        fingerprint=data,
        budget=fitted.budget,
        findings=findings,
        ceilings=stages.ceilings,
        cache_bytes=cache_bytes(fitted.decision.plan, [one.grid for one in cohort.facts]),
        cases=len(cohort.facts),
        sides=cohort.sides,
        measured=fitted.measured,
        corrected=fitted.corrected,
        training_s=fitted.training_s,
        second=stages.second,
    )


def _require_startable(run: Run, options: PlanOptions) -> None:
    """Refuse what can be refused before any case is read."""
    if options.split is not None and not options.split.is_file():
        raise PlanError(f"--split {options.split}: there is no such file; correct the path")
    options.require_compatible()
    _require_keys(options)
    if options.stages == 2:
        options_of_stages(options, is_on_cpu=True)  # its errors
    if not options.force and is_edited(run):
        raise PlanError(
            f"{run.plan_file}: was edited by hand; keep it and go on with `autoseg preprocess`, or use --force"
        )


def _require_keys(options: PlanOptions) -> None:
    """Refuse settings of which such a plan has no key or no such value, before there is a plan.

    Raises:
        PlanError: If there is one, or a value that the key cannot have; keys within a part are left to `with_settings`.
    """
    for key in options.settings:
        name, known = key.partition(".")[0], list(Plan.model_fields)
        if name not in known:
            near = [NNUNET_KEYS[name]] if name in NNUNET_KEYS else difflib.get_close_matches(name, known, n=3) or known
            raise PlanError(f"--set {key}: the plan has no such key; near it: {', '.join(near)}")
        if name == "finer" and options.stages != 2 and options.preset is None:
            raise PlanError(f"--set {key}: is of a second stage; give --stages 2, too")
    require_values(options.settings)


def _write(
    run: Run,
    path: Path,
    dataset: Dataset,
    options: PlanOptions,
    decision: Decision,
    context: Context,
) -> None:
    """Write what a RUN knows of its plan as one generation, plan.json last."""
    warn_of_trained(run, decision.plan)
    text = decision.plan.model_dump_json(indent=1) + "\n"
    origin = origin_of(path, dataset, comparable(options), run) | {"plan": text_digest(text)}
    write_generation(
        {
            run.fingerprint_file: context.fingerprint.model_dump_json(indent=1),
            run.split_file: splits_text(context.sides.splits),
            run.plan_text_file: explain(decision, context),
            run.dataset_file: json.dumps(origin, indent=1),
            run.plan_file: text,
        }
    )
