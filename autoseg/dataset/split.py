"""Splits: which cases train, validate and test, drawn at random so that every organ is on each side if possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import permutations, product

import numpy as np

from autoseg.errors import PlanError

TRAINING_FIRST = 1000  # organs that may be left untested for one more to be trained on


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


@dataclass(frozen=True, kw_only=True, eq=False)  # compared by identity, which is fast
class _Unit:
    """Cases that stay together, as those of one patient do."""

    cases: tuple[str, ...]
    organs: frozenset[int]


def make_splits(
    cases_with_organs: Mapping[str, frozenset[int]],
    seed: int,
    folds: int = 1,
    testing_share: float = 0.1,
    validation_share: float = 0.1,
    patients: Mapping[str, str] | None = None,
) -> tuple[Split, ...]:
    """Return random splits of the cases; the same cases give the same splits, in any order.

    One fold: `testing_share` of the patients test, at least one where there are two. Several folds: each case tests
    in exactly one. `validation_share` of the rest validates, at least one patient where the rest has three.

    An organ that one patient has is trained on, one of two patients is also tested, one of three also validates, as
    far as the sides have room for the patients this takes; training comes before testing, testing before validation.

    Args:
        cases_with_organs: Case id to the values of the organs it has.
        seed: Of the draw.
        folds: Number of splits.
        testing_share: Of all patients, rounded down; not used with several folds. 0: nothing is tested.
        validation_share: Of the patients that do not test, rounded down. 0: nothing validates.
        patients: Case id to patient; cases of one patient stay on one side. None: each case is a patient.

    Raises:
        PlanError: If there are no cases, fewer patients than folds, or a share is not in [0, 1).

    Source: after iterative stratification, Sechidis et al. 2011: the rarest organ is dealt out first.
    """
    if not 0 <= testing_share < 1 or not 0 <= validation_share < 1:
        raise PlanError(f"shares must be at least 0 and below 1, got {testing_share} and {validation_share}")
    units = _units(cases_with_organs, patients or {})
    if not units or not 1 <= folds <= len(units):
        raise PlanError(f"{folds} folds are not possible with {len(units)} patients; choose 1 to {len(units)} folds")
    draw = np.random.default_rng(seed)
    if folds > 1:
        hands = _deal(units, [1 / folds] * folds, draw)
        _mend(hands, in_first=0)
        tests = [(hand, [u for other in hands if other is not hand for u in other]) for hand in hands]
    else:
        tests = [_part(units, testing_share, 2, draw)]
    return tuple(_split(test, *_part(rest, validation_share, 3, draw)) for test, rest in tests)


def _units(cases: Mapping[str, frozenset[int]], patients: Mapping[str, str]) -> list[_Unit]:
    together: dict[str, list[str]] = {}
    for case in sorted(cases):
        together.setdefault(patients.get(case, case), []).append(case)
    return [
        _Unit(cases=tuple(names), organs=frozenset().union(*(cases[name] for name in names)))
        for _, names in sorted(together.items())
    ]


def _part(
    units: Sequence[_Unit], share: float, fewest: int, draw: np.random.Generator
) -> tuple[list[_Unit], list[_Unit]]:
    """Return `share` of the units, at least one where there are `fewest`, and the rest, which is never empty."""
    if share == 0 or len(units) < fewest:
        return [], list(units)
    count = int(share * len(units) + 1e-9)  # rounded down: 377 cases, 37 to test, as in the paper
    count = min(max(1, count), len(units) - 1)
    hands = _deal(units, [1 - count / len(units), count / len(units)], draw)
    _mend(hands, in_first=TRAINING_FIRST)
    return hands[1], hands[0]


def _split(testing: Sequence[_Unit], validation: Sequence[_Unit], training: Sequence[_Unit]) -> Split:
    names = [tuple(sorted(case for unit in side for case in unit.cases)) for side in (training, validation, testing)]
    return Split(training=names[0], validation=names[1], testing=names[2])


def _deal(units: Sequence[_Unit], shares: Sequence[float], draw: np.random.Generator) -> list[list[_Unit]]:
    """Deal units out to hands whose sizes have the given shares.

    The rarest organ goes first, each unit to the hand with the largest demand for it: its share of the units that have
    the organ, but at least one, the first hand before the others where there are not enough.
    """
    hands: list[list[_Unit]] = [[] for _ in shares]
    room = _whole(len(units), shares)
    left = [units[i] for i in draw.permutation(len(units))]
    count = Counter(organ for unit in units for organ in unit.organs)
    demand = {
        organ: [max(share * n, 1.0 if n >= len(shares) else 0.0) for share in shares] for organ, n in count.items()
    }
    while left:
        rest = Counter(organ for unit in left for organ in unit.organs)
        rarest = min(rest, key=lambda organ: (rest[organ], organ), default=0)
        for unit in [unit for unit in left if rarest in unit.organs] or list(left):
            left.remove(unit)
            open_hands = [h for h in range(len(hands)) if room[h] > 0]
            hand = max(open_hands, key=lambda h: (demand[rarest][h] if rarest in demand else 0.0, room[h]))
            hands[hand].append(unit)
            room[hand] -= 1
            for organ in unit.organs:
                demand[organ][hand] -= 1
    return hands


def _mend(hands: Sequence[list[_Unit]], in_first: int) -> None:
    """Swap units between hands while that lets more organs be in more hands: dealing does not look ahead.

    Args:
        hands: Changed in place; their sizes stay.
        in_first: How many more hands an organ's place in the first hand counts for.
    """
    held: dict[int, list[int]] = {}  # organ to its units in each hand
    for h, hand in enumerate(hands):
        for organ in (organ for unit in hand for organ in unit.organs):
            held.setdefault(organ, [0] * len(hands))[h] += 1
    while _swap(hands, held, in_first):
        pass


def _swap(hands: Sequence[list[_Unit]], held: dict[int, list[int]], in_first: int) -> bool:
    """Make the first swap that helps, in `hands` and `held`; return whether one did."""
    lacking = {organ for organ, counts in held.items() if _lack(counts, in_first) > 0}
    for one, other in permutations(range(len(hands)), 2):
        for (i, giving), (j, taking) in product(enumerate(hands[one]), enumerate(hands[other])):
            if giving.organs.isdisjoint(lacking):
                continue
            after = {organ: list(held[organ]) for organ in giving.organs ^ taking.organs}
            for organ, counts in after.items():
                step = 1 if organ in giving.organs else -1
                counts[one] -= step
                counts[other] += step
            if sum(_lack(after[o], in_first) - _lack(held[o], in_first) for o in after) < 0:
                hands[one][i], hands[other][j] = taking, giving
                held.update(after)
                return True
    return False


def _lack(counts: Sequence[int], in_first: int) -> int:
    """Return how many more hands could have an organ that has these units in each hand.

    >>> _lack([4, 0, 1], 0), _lack([0, 1], 0), _lack([0, 1], 1000)
    (1, 0, 1000)
    """
    hands = sum(n > 0 for n in counts)
    return min(sum(counts), len(counts)) - hands + (in_first if counts[0] == 0 else 0)


def _whole(count: int, shares: Sequence[float]) -> list[int]:
    """Return whole sizes with the given shares that add up to `count`.

    >>> _whole(7, [0.5, 0.5])
    [4, 3]
    """
    edges = np.ceil(np.cumsum([0.0, *shares]) * count - 1e-9).astype(int)
    return [int(n) for n in np.diff(edges)]


def without(split: Split, excluded: Collection[str]) -> Split:
    """Return a split without some cases."""
    return Split(**{side: tuple(c for c in cases if c not in excluded) for side, cases in split.sides().items()})
