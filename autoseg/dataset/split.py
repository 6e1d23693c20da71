"""Which cases train, which choose, which test: at random, with every organ on each side where that is possible."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.errors import PlanError
from autoseg.files import write_text

TRAINING_FIRST = 1000  # organs that may be left untested for one more to be trained on
NNUNET = {"train": "training", "val": "testing"}  # of splits_final.json: nnU-Net reports its scores on val


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


@dataclass(frozen=True, kw_only=True, eq=False)  # told apart by identity, which is fast
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
    """Split cases at random; the same input gives the same splits, in whatever order it comes.

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

    The rarest organ goes first, each unit to the hand that still wants most of it: its share of the units that have
    the organ, but at least one, the first hand before the others where there are not enough.
    """
    hands: list[list[_Unit]] = [[] for _ in shares]
    room = _whole(len(units), shares)
    left = [units[i] for i in draw.permutation(len(units))]
    count = Counter(organ for unit in units for organ in unit.organs)
    wanted = {
        organ: [max(share * n, 1.0 if n >= len(shares) else 0.0) for share in shares] for organ, n in count.items()
    }
    while left:
        rest = Counter(organ for unit in left for organ in unit.organs)
        rarest = min(rest, key=lambda organ: (rest[organ], organ), default=0)
        for unit in [unit for unit in left if rarest in unit.organs] or list(left):
            left.remove(unit)
            open_hands = [h for h in range(len(hands)) if room[h] > 0]
            hand = max(open_hands, key=lambda h: (wanted[rarest][h] if rarest in wanted else 0.0, room[h]))
            hands[hand].append(unit)
            room[hand] -= 1
            for organ in unit.organs:
                wanted[organ][hand] -= 1
    return hands


def _mend(hands: Sequence[list[_Unit]], in_first: int) -> None:
    """Swap units between hands while that lets more organs be in more hands: dealing does not look ahead.

    Args:
        hands: Changed in place; their sizes stay.
        in_first: In how many hands more it counts to be when an organ is in the first.
    """
    held: dict[int, list[int]] = {}  # organ to its units in each hand
    for h, hand in enumerate(hands):
        for organ in (organ for unit in hand for organ in unit.organs):
            held.setdefault(organ, [0] * len(hands))[h] += 1
    while _swap(hands, held, in_first):
        pass


def _swap(hands: Sequence[list[_Unit]], held: dict[int, list[int]], in_first: int) -> bool:
    """Make the first swap that helps, in `hands` and `held`; return whether there was one."""
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
    """Return in how many hands more an organ with these units in each hand could be.

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


def save_splits(splits: Sequence[Split], file: Path) -> None:
    """Write splits as a JSON list of folds, atomically."""
    write_text(file, json.dumps([split.sides() for split in splits], indent=1) + "\n")


def load_splits(
    file: Path, cases: Collection[str] | None, patients: Mapping[str, str] | None = None
) -> tuple[Split, ...]:
    """Read a split file, which a user may have written.

    JSON: [{"training": […], "validation": […], "testing": […]}, …], an object a fold, or nnU-Net's splits_final.json,
    whose "val" tests and nothing validates. CSV: the columns case, split (training, validation or testing) and, with
    several folds, fold (from 0).

    Args:
        file: CSV by its suffix, anything else is JSON. A fold need not have validation and testing.
        cases: Ids that the dataset has; the file need not use all of them. None: not known, any id will do.
        patients: Case id to patient; cases of one patient must be on one side of a fold. None: not known.

    Raises:
        PlanError: If it is missing or broken, names an unknown case, a case twice in a fold, a patient on two sides,
            or trains on nothing.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{file}: no readable split ({error}); run `autoseg plan` to make one") from error
    folds = _csv_folds(file, text) if file.suffix.lower() == ".csv" else _json_folds(file, text)
    splits = tuple(_parse_fold(f"{file}, fold {number}", fold, cases) for number, fold in enumerate(folds))
    for number, split in enumerate(splits):
        _require_patients_apart(f"{file}, fold {number}", split, patients or {})
    return splits


def _json_folds(file: Path, text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise PlanError(f"{file}, line {error.lineno}: not valid JSON ({error.msg}); correct that line") from error
    if not isinstance(found, list) or not found:
        raise PlanError(f'{file}: must hold a list of folds, as in [{{"training": ["a"], "testing": ["b"]}}]')
    return found


def _csv_folds(file: Path, text: str) -> list[dict[str, list[str]]]:
    folds: dict[int, dict[str, list[str]]] = {}
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for row in reader:
        texts = {key.strip(): (value or "").strip() for key, value in row.items() if isinstance(key, str)}
        case, side, fold = texts.get("case"), texts.get("split", ""), texts.get("fold") or "0"
        if not case or side not in SIDES or not fold.isdecimal():
            found = ", ".join(f"{key} {value!r}" for key, value in texts.items())
            raise PlanError(
                f"{file}, line {reader.line_num}: needs the columns case, split ({', '.join(SIDES)}) and perhaps fold "
                f"(a number), found {found}; correct that line"
            )
        folds.setdefault(int(fold), {}).setdefault(side, []).append(case)
    if not folds or max(folds) >= len(folds):
        raise PlanError(f"{file}: has the folds {sorted(folds)}; list the cases, and number the folds from 0")
    return [folds[number] for number in sorted(folds)]


def _parse_fold(where: str, fold: Any, cases: Collection[str] | None) -> Split:
    if isinstance(fold, dict) and set(fold) <= set(NNUNET):
        fold = {NNUNET[key]: ids for key, ids in fold.items()}
    if not isinstance(fold, dict) or not set(fold) <= set(SIDES):
        found = f"the keys {', '.join(fold)}" if isinstance(fold, dict) else type(fold).__name__
        raise PlanError(f"{where}: must be an object with the lists {', '.join(SIDES)}, found {found}")
    names = {side: fold.get(side, []) for side in SIDES}
    for side, ids in names.items():
        if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
            raise PlanError(f"{where}: {side} must be a list of case ids")
    every = Counter(name for ids in names.values() for name in ids)
    unknown = sorted(set(every) - set(cases)) if cases is not None else []
    if unknown:
        raise PlanError(f"{where}: the dataset has no case {', '.join(unknown[:5])}; correct the ids")
    twice = sorted(name for name, count in every.items() if count > 1)
    if twice:
        raise PlanError(f"{where}: {', '.join(twice[:5])} occurs twice; a case is on one side of a fold, once")
    if not names["training"]:
        raise PlanError(f"{where}: training is empty; name the cases to train on")
    return Split(**{side: tuple(ids) for side, ids in names.items()})


def _require_patients_apart(where: str, split: Split, patients: Mapping[str, str]) -> None:
    """Raise PlanError if a patient has cases on two sides of a fold."""
    seen: dict[str, tuple[str, str]] = {}
    for side, cases in split.sides().items():
        for case in cases:
            patient = patients.get(case, case)
            first, where_first = seen.setdefault(patient, (case, side))
            if where_first != side:
                raise PlanError(
                    f"{where}: patient {patient} is on two sides, {first} in {where_first} and {case} in {side}; "
                    "put all cases of a patient on one side"
                )
