"""The cohort of a plan: the usable cases of a dataset, and the side that each is on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.dataset.check import require_known_cases, usable_facts
from autoseg.dataset.facts import CaseFacts
from autoseg.dataset.load import Dataset
from autoseg.dataset.origin import is_of, read_origin
from autoseg.dataset.split import Split, grow_splits, make_splits, require_folds, without
from autoseg.dataset.split_file import load_splits
from autoseg.digests import text_digest
from autoseg.errors import PlanError
from autoseg.flags import options_of
from autoseg.options import PlanOptions
from autoseg.planning.explain_split import Sides, few_test
from autoseg.run import Run
from autoseg.steps.check import DatasetCheck
from autoseg.words import counted, some

logger = logging.getLogger(__name__)

DRAWN_BY = ("split", "seed", "folds")  # options that draw a split


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """The usable cases, and what each is for."""

    sides: Sides
    facts: list[CaseFacts]  # of the cases that are on a side
    new: list[str]  # those of them that the RUN's earlier split did not know; none where there was no such split

    @property
    def choosing(self) -> list[CaseFacts]:
        """The cases that decide on the plan: those that always test choose nothing."""
        tested = set.intersection(*(set(fold.testing) for fold in self.sides.splits))
        return [one for one in self.facts if one.case not in tested]


def cohort_of(path: Path, checked: DatasetCheck, options: PlanOptions, run: Run) -> Cohort:
    """Split the usable cases.

    Raises:
        DatasetError: If cases are unusable and not excluded.
    """
    usable = usable_facts(checked.dataset, checked.examinations, checked.findings, options.exclude)
    patients = {case.id: case.patient for case in checked.dataset.cases}
    before = _earlier_splits(run, options, patients) if is_of(run, path) else ()
    splits = _splits(usable, options, patients, before)
    listed, earlier = ({case for fold in folds for case in fold.cases()} for folds in (splits, before))
    facts = [one for one in usable if one.case in listed]
    sides = Sides(
        splits=splits,
        is_drawn=options.split is None,
        patients=patients,
        unlisted=sorted({one.case for one in usable} - listed),
    )
    return Cohort(sides=sides, facts=facts, new=sorted(listed - earlier) if earlier else [])


def require_cases(dataset: Dataset, options: PlanOptions) -> None:
    """Refuse what names other cases than a dataset has, or asks for more folds than patients, before any is read.

    Raises:
        DatasetError: If a case to leave out is none of them.
        PlanError: If the user's split is not valid for them, or there are fewer patients than folds.
    """
    require_known_cases(dataset, options.exclude)
    patients = {case.id: case.patient for case in dataset.cases}
    if options.split is not None:
        load_splits(options.split, tuple(patients), patients)
    else:
        require_folds(options.folds, len({patients[name] for name in patients if name not in options.exclude}))


def _splits(
    facts: Sequence[CaseFacts], options: PlanOptions, patients: Mapping[str, str], before: Sequence[Split]
) -> tuple[Split, ...]:
    """Return the splits of the file that the user gives, else the earlier ones with what is new, else new ones."""
    if options.split is not None:
        splits = load_splits(options.split, tuple(patients), patients)
        return tuple(without(fold, options.exclude) for fold in splits)
    cases = {one.case: one.values for one in facts}
    grown = grow_splits(before, cases, options.seed, patients)
    if grown and all(
        fold.training and (fold.testing or not old.testing) for fold, old in zip(grown, before, strict=True)
    ):
        return grown
    return make_splits(cases, options.seed, options.folds, patients=patients)


def _earlier_splits(run: Run, options: PlanOptions, patients: Mapping[str, str]) -> tuple[Split, ...]:
    """Return the splits that RUN was planned with, if these options drew them; none: they are drawn anew."""
    drawn_by = read_origin(run).get("options")
    deciding = comparable(options)
    if options.split is not None or not isinstance(drawn_by, dict) or not run.split_file.is_file():
        return ()
    if not run.plan_file.is_file():  # a `plan` was killed while it wrote: the split may be of other options
        return ()
    if any(drawn_by.get(name) != deciding[name] for name in DRAWN_BY):
        return ()
    try:
        return load_splits(run.split_file, None, patients)
    except PlanError as error:
        logger.warning("the split is drawn anew: %s", error)
        return ()


def tell_of(cohort: Cohort) -> None:
    """Say which cases are not used, what becomes of those that have come since the last plan, and if few test."""
    sides = cohort.sides
    if sides.unlisted:
        logger.warning(
            "%s not used, as on no side of the split: %s; add to the file those that should be",
            counted(len(sides.unlisted), "case"),
            some(sides.unlisted),
        )
    if cohort.new:
        logger.warning(
            "%s for training and validation%s: %s; the others stay where they were, %s to test",
            counted(len(cohort.new), "new case"),
            ", each of which tests in one fold" if len(sides.splits) > 1 else "",
            some(cohort.new),
            len({case for fold in sides.splits for case in fold.testing}.difference(cohort.new)),
        )
    if advice := few_test(sides):
        logger.warning("%s", advice)


def comparable(options: PlanOptions) -> dict[str, Any]:
    """Return the options that decide on the plan as plain values, to be compared with those of another call."""
    values = {**vars(options), "settings": dict(options.settings), "exclude": list(options.exclude)}
    values["split"] = None if options.split is None else _text_of(options.split)
    if options.preset is not None and options.preset.endswith(".json"):
        values["preset"] = _text_of(Path(options.preset))
    return {name: values[name] for name, option in options_of(PlanOptions).items() if option.decides}


def _text_of(file: Path) -> str:
    """Return the digest of a file that an option names: another text means another plan."""
    return text_digest(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else str(file)
