"""Splits: which cases train, validate and test, and what becomes of them when a dataset grows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

from autoseg.dataset.draw import Patient, choose, dealt, in_order, patients_with, place
from autoseg.errors import PlanError

TESTING_SHARE = 0.1  # of the patients, as in Roth et al. 2018: 377 cases, 37 of them to test
VALIDATION_SHARE = 0.1  # of those that do not test
FEWEST_TO_VALIDATE = 3  # patients that do not test, below which all of them train


@dataclass(frozen=True, kw_only=True)
class Split:
    """The cases of one fold, by id. Testing cases choose nothing."""

    training: tuple[str, ...]
    validation: tuple[str, ...]  # used only to choose: a part of what the paper calls training
    testing: tuple[str, ...]

    def sides(self) -> dict[str, tuple[str, ...]]:
        """Return the cases of each side, in the order of `SIDES`."""
        return {"training": self.training, "validation": self.validation, "testing": self.testing}

    def cases(self) -> tuple[str, ...]:
        """Return the cases of all sides."""
        return (*self.training, *self.validation, *self.testing)

    def side_of(self, case: str) -> str | None:
        """Return the side that a case is on; None where the split does not name it."""
        return next((side for side, cases in self.sides().items() if case in cases), None)


SIDES = tuple(field.name for field in fields(Split))
TRAINING, TESTING = ("training", "validation"), ("testing",)  # sides as the paper's two tables count them


def make_splits(
    cases_with_organs: Mapping[str, frozenset[int]],
    seed: int,
    folds: int = 1,
    testing_share: float = TESTING_SHARE,
    validation_share: float = VALIDATION_SHARE,
    patients: Mapping[str, str] | None = None,
) -> tuple[Split, ...]:
    """Return splits of the cases, drawn by a hash of each patient's name; see `draw.choose`.

    One fold: a new patient moves no other, but where a side had nobody or an organ is rare. Several folds: each case
    tests in exactly one.

    Args:
        cases_with_organs: Case id to the values of the organs it has.
        seed: Of the draw.
        folds: Number of splits.
        testing_share: Of all patients, on average; not used with several folds. 0: nothing is tested.
        validation_share: Of the patients that do not test, on average. 0: nothing validates.
        patients: Case id to patient; cases of one patient stay on one side. None: each case is a patient.

    Raises:
        PlanError: If there are no cases, fewer patients than folds, or a share is not in [0, 1).
    """
    if not 0 <= testing_share < 1 or not 0 <= validation_share < 1:
        raise PlanError(f"shares must be at least 0 and below 1, got {testing_share} and {validation_share}")
    people = patients_with(cases_with_organs, patients or {})
    require_folds(folds, len(people))
    if folds == 1:
        tests = [choose(people, testing_share, 2, seed, "testing")]
    else:
        hands = dealt(people, folds, seed)
        tests = [(hand, [one for other in hands if other is not hand for one in other]) for hand in hands]
    return tuple(
        _split(testing, *choose(rest, validation_share, FEWEST_TO_VALIDATE, seed, "validation"))
        for testing, rest in tests
    )


def _split(testing: Sequence[Patient], validation: Sequence[Patient], training: Sequence[Patient]) -> Split:
    sides = (training, validation, testing)
    return Split(**{side: _cases(people) for side, people in zip(SIDES, sides, strict=True)})


def _cases(people: Sequence[Patient]) -> tuple[str, ...]:
    return tuple(sorted(case for patient in people for case in patient.cases))


def require_folds(folds: int, patients: int) -> None:
    """Refuse folds of which some would have no patient to test.

    Raises:
        PlanError: Then.
    """
    if not 1 <= folds <= patients:
        raise PlanError(f"{folds} folds are not possible with {patients} patients; choose 1 to {patients} folds")


def grow_splits(
    before: Sequence[Split], cases: Collection[str], seed: int, patients: Mapping[str, str] | None = None
) -> tuple[Split, ...]:
    """Return splits in which every earlier case is where it was, and new ones train; none where there were none.

    A new case of an earlier patient goes where that patient is. Of new patients some validate, chosen as in
    `make_splits`; with several folds, each tests in one, the fold with the fewest patients first.

    Args:
        before: The earlier splits; cases that are gone are left out.
        cases: Ids of all cases that there are now.
        seed: Of the draw.
        patients: Case id to patient, of all of them. None: each case is a patient.
    """
    if not before:
        return ()
    names = {case: (patients or {}).get(case, case) for case in (*cases, *before[0].cases())}
    people = patients_with(dict.fromkeys(cases, frozenset[int]()), names)
    folds = [{names[case]: side for side, ids in fold.sides().items() for case in ids} for fold in before]
    new = [patient for patient in in_order(people, seed, "testing") if patient.name not in folds[0]]
    validating = [patient for patient in new if place(patient, seed, "validation") < VALIDATION_SHARE]
    if not validating and len(people) >= FEWEST_TO_VALIDATE and "validation" not in folds[0].values():
        validating = in_order(new, seed, "validation")[:1]
    watching = {patient.name for patient in validating}
    for fold in folds:
        fold.update({patient.name: "validation" if patient.name in watching else "training" for patient in new})
    testing = [list(fold.values()).count("testing") for fold in folds]  # none of them new yet
    for patient in new if len(folds) > 1 else ():
        fewest = testing.index(min(testing))
        folds[fewest][patient.name] = "testing"
        testing[fewest] += 1
    return tuple(
        Split(**{side: _cases([one for one in people if fold[one.name] == side]) for side in SIDES}) for fold in folds
    )


def without(split: Split, excluded: Collection[str]) -> Split:
    """Return a split without some cases."""
    left_out = frozenset(excluded)
    return Split(**{side: tuple(c for c in cases if c not in left_out) for side, cases in split.sides().items()})
