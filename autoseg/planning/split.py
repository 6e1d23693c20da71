"""Which cases train, which choose, which test: at random, with every organ on each side where that is possible."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.errors import PlanError
from autoseg.files import write_text


@dataclass(frozen=True, kw_only=True)
class Split:
    """The cases of one fold, by id. Testing cases choose nothing."""

    training: tuple[str, ...]
    validation: tuple[str, ...]  # used only to choose: a part of what the paper calls training
    testing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
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

    One fold: `testing_share` of the cases test, at least one where there are two. Several folds: each case tests
    in exactly one. `validation_share` of the rest validates, at least one case where the rest has three.

    Args:
        cases_with_organs: Case id to the values of the organs it has.
        seed: Of the draw.
        folds: Number of splits.
        testing_share: Of all cases; not used with several folds. 0: nothing is tested.
        validation_share: Of the cases that do not test. 0: nothing validates.
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
    count = max(1, int(share * len(units) + 1e-9))  # rounded down: 377 cases, 37 to test, as in the paper
    rest, part = _deal(units, [1 - count / len(units), count / len(units)], draw)
    return part, rest


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


def _whole(count: int, shares: Sequence[float]) -> list[int]:
    """Return whole sizes with the given shares that add up to `count`.

    >>> _whole(7, [0.5, 0.5])
    [4, 3]
    """
    edges = np.ceil(np.cumsum([0.0, *shares]) * count - 1e-9).astype(int)
    return [int(n) for n in np.diff(edges)]


def save_splits(splits: Sequence[Split], file: Path) -> None:
    """Write splits as a JSON list of folds, atomically."""
    write_text(file, json.dumps([asdict(split) for split in splits], indent=1) + "\n")


def load_splits(file: Path, cases: Collection[str] | None) -> tuple[Split, ...]:
    """Read a split file, which a user may have written: [{"training": […], "validation": […], "testing": […]}, …].

    Args:
        file: The JSON file; "validation" and "testing" may be left out.
        cases: Ids that the dataset has; the file need not use all of them. None: not known, any id will do.

    Raises:
        PlanError: If it is missing or broken, names an unknown case, a case twice in a fold, or trains on nothing.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise PlanError(f"{file}, line {error.lineno}: not valid JSON ({error.msg}); correct that line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{file}: no readable split ({error}); run `autoseg plan` to make one") from error
    if not isinstance(found, list) or not found:
        raise PlanError(f'{file}: must hold a list of folds, as in [{{"training": ["a"], "testing": ["b"]}}]')
    return tuple(_parse_fold(f"{file}, fold {number}", fold, cases) for number, fold in enumerate(found))


def _parse_fold(where: str, fold: Any, cases: Collection[str] | None) -> Split:
    sides = [field.name for field in fields(Split)]
    if not isinstance(fold, dict) or not set(fold) <= set(sides):
        raise PlanError(f"{where}: must be an object with the lists {', '.join(sides)}")
    names = {side: fold.get(side, []) for side in sides}
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
