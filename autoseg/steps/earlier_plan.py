"""The plan that RUN has before it is planned: of which dataset and options, edited or not, trained or not."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from autoseg.dataset.load import load_dataset
from autoseg.dataset.origin import has_origin, is_of, read_origin
from autoseg.digests import remembered, text_digest
from autoseg.errors import AutosegError, PlanError
from autoseg.flags import options_of
from autoseg.options import PlanOptions
from autoseg.plan import Plan
from autoseg.run import Run
from autoseg.steps.cohort import comparable

logger = logging.getLogger(__name__)


def is_planned(path: Path, run: Run, options: PlanOptions) -> bool:
    """Return whether RUN has a plan of this dataset, as it is now, made with these options; or an edited one.

    Whoever does not say how many stages there are to be goes on with those that RUN has.

    Raises:
        PlanError: If an edited plan is of another dataset.
    """
    if not run.plan_file.is_file():
        return False
    if is_edited(run):
        _require_fit(path, run, options)
        return True
    noted: set[int | None] = {1, 2, None} if options.stages is None else {options.stages}
    with suppress(AutosegError):  # a plan that cannot be read is not this one
        if options.stages == len(run.plan().stages):
            noted.add(None)
    with remembered(run.digests_file):
        dataset, defaults = load_dataset(path), comparable(PlanOptions())
        return any(
            has_origin(run, path, dataset, comparable(replace(options, stages=stages)), defaults) for stages in noted
        )


def is_edited(run: Run) -> bool:
    """Return whether plan.json is another than the one `plan` wrote."""
    return run.plan_file.is_file() and read_origin(run).get("plan") != text_digest(
        run.plan_file.read_text(encoding="utf-8", errors="replace")
    )


def _require_fit(path: Path, run: Run, options: PlanOptions) -> None:
    """Refuse an edited plan of another dataset, and say which options it leaves without effect.

    Raises:
        PlanError: If it is of another dataset.
    """
    origin = read_origin(run)
    if "dataset" in origin and not is_of(run, path):
        raise PlanError(
            f"{run.plan_file}: was edited by hand, and is of the dataset {origin['dataset']}, not of {path}; give that "
            "one, or another RUN, or --force to plan anew"
        )
    noted, defaults, flags = origin.get("options"), comparable(PlanOptions()), options_of(PlanOptions)
    before = noted if isinstance(noted, dict) else {}
    wanted = {name: value for name, value in comparable(options).items() if name != "device"}  # trained on, anyway
    idle = [flags[name].flag for name, value in wanted.items() if value not in (defaults[name], before.get(name))]
    if idle:
        logger.warning(
            "%s: was edited by hand and is used as it is, so these change nothing: %s; use --force to plan anew",
            run.plan_file,
            ", ".join(idle),
        )


def keeping_stages(path: Path, run: Run, options: PlanOptions) -> PlanOptions:
    """Return the options with the stages that RUN is trained in, where the user does not say how many.

    So cases that come later do not end a training: of other stages it could not go on.
    """
    with suppress(AutosegError):  # a plan that cannot be read is replaced
        is_open = options.stages is None and options.preset is None and options.gpus == 1
        if is_open and run.folds() and is_of(run, path):
            return replace(options, stages=len(run.plan().stages))
    return options


def keeping_rates(run: Run, plan: Plan) -> Plan:
    """Return a plan with the learning rates and optimisers of a trained RUN, if else it differs in its length only.

    They follow from the length, which may change while a training goes on; they may not.
    """
    with suppress(AutosegError):  # a plan that cannot be read is replaced
        before = run.plan() if run.folds() else plan
        kept = _moved_as(plan, before)
        if kept.finer is not None and before.finer is not None:
            kept = kept.model_copy(update={"finer": _moved_as(kept.finer, before.finer)})
        if _differ_in_length_only(before, kept):
            return kept
    return plan


def _moved_as(plan: Plan, before: Plan) -> Plan:
    optimiser = plan.optimiser.model_copy(update={"name": before.optimiser.name})
    return plan.model_copy(update={"learning_rate": before.learning_rate, "optimiser": optimiser})


def warn_of_trained(run: Run, plan: Plan) -> None:
    """Say that what was trained does not go on under a plan that differs in more than its length."""
    with suppress(AutosegError):  # a plan that cannot be read is replaced without a word
        for fold in run.folds() if not _differ_in_length_only(run.plan(), plan) else ():
            logger.warning(
                "%s: was trained under another plan, so its training cannot go on; remove it, or plan into another RUN",
                run.fold(fold).folder,
            )


def _differ_in_length_only(before: Plan, after: Plan) -> bool:
    def endless(plan: Plan) -> list[Plan]:
        return [stage.model_copy(update={"iterations": 1}) for stage in plan.stages]

    return endless(before) == endless(after)
