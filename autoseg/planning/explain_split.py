"""The part of plan.md on the split: how many patients train, validate and test, and whether that tells enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autoseg.dataset.split import Split
from autoseg.words import counted, escape, in_words, some

FEW = 50  # patients, below which a tenth of them tells no more than large differences


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Which cases are on which side, and of whom they are."""

    splits: Sequence[Split]
    is_drawn: bool = True  # whether the splits are not the user's
    patients: Mapping[str, str] = field(default_factory=dict)  # of the cases; those not in it are patients of their own
    unlisted: Sequence[str] = ()  # usable cases that are on no side

    def people(self, cases: Sequence[str]) -> int:
        """Return how many patients some cases are of."""
        return len({self.patients.get(case, case) for case in cases})


def split_section(sides: Sides) -> Iterable[str]:
    """Yield how many train, validate and test, with a warning where that is nobody, and an advice where it is few."""
    yield "## Split"
    for number, fold in enumerate(sides.splits):
        training, validation, testing = (_people(sides, cases) for cases in fold.sides().values())
        name = f"Fold {number}: " if len(sides.splits) > 1 else ""
        yield f"{name}{training} to train, {validation} to choose by (validation), {testing} to test. See split.json."
    if advice := few_test(sides):
        yield advice
    if not all(fold.testing for fold in sides.splits):
        yield "**Warning**: nothing tests, so there will be no table of testing cases."
    if not all(fold.validation for fold in sides.splits):
        yield "**Warning**: nothing validates, so the curves show the loss only."
    if sides.unlisted:
        names = some([escape(name) for name in sides.unlisted])
        yield f"**Warning**: not used, as on no side of the split: {counted(len(sides.unlisted), 'case')}, {names}."


def few_test(sides: Sides) -> str | None:
    """Return the advice to test every patient once, where one drawn split tests only a few."""
    if not sides.is_drawn or len(sides.splits) != 1:
        return None
    tested, known = (sides.people(cases) for cases in (sides.splits[0].testing, sides.splits[0].cases()))
    if not tested or known >= FEW:
        return None
    return (
        f"{in_words(tested, 'patient').capitalize()} of {known} {'tests' if tested == 1 else 'test'}: too few to tell "
        "more than large differences. With `--folds 5` every patient tests once, in five trainings."
    )


def _people(sides: Sides, cases: Sequence[str]) -> str:
    """Return how many patients some cases are of, with the number of cases where they are more."""
    patients = sides.people(cases)
    return counted(patients, "patient") + (f" ({counted(len(cases), 'case')})" if len(cases) > patients else "")
