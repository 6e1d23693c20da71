"""The draw of patients: a hash of its name says on which side one is, so that a new patient moves no other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

TOP = 2**64  # above the numbers that eight bytes hold
Chosen = tuple[list["Patient"], list["Patient"]]  # those on a side, and the rest


@dataclass(frozen=True, kw_only=True, eq=False)  # compared by identity, which is fast
class Patient:
    """Cases that stay on one side, with the organs that they have."""

    name: str
    cases: tuple[str, ...]
    organs: frozenset[int]


def patients_with(cases: Mapping[str, frozenset[int]], names: Mapping[str, str]) -> list[Patient]:
    """Return the patients of some cases, by name.

    Args:
        cases: Case id to the values of the organs it has.
        names: Case id to patient; a case that is not in it is a patient of its own.
    """
    together: dict[str, list[str]] = {}
    for case in sorted(cases):
        together.setdefault(names.get(case, case), []).append(case)
    return [
        Patient(name=name, cases=tuple(own), organs=frozenset().union(*(cases[case] for case in own)))
        for name, own in sorted(together.items())
    ]


def place(patient: Patient, seed: int, side: str) -> float:
    """Return where a patient stands for a side, from 0 to 1, by its name alone.

    >>> round(place(Patient(name="a", cases=("a",), organs=frozenset()), seed=0, side="testing"), 3)
    0.792
    """
    digest = hashlib.sha256(f"{side}\n{seed}\n{patient.name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / TOP


def in_order(patients: Collection[Patient], seed: int, side: str) -> list[Patient]:
    """Return patients by their place for a side, those first that are on it."""
    return sorted(patients, key=lambda patient: (place(patient, seed, side), patient.name))


def choose(patients: Sequence[Patient], share: float, fewest: int, seed: int, side: str) -> Chosen:
    """Return the patients that are on a side, and the rest, which is never empty.

    Whose place lies below `share` is on it, whoever else there is; the side's size is therefore `share` of the
    patients only on average. Three things go before this: at least one patient is on the side, and not more than half
    of them; an organ that one patient alone has is in the rest; and of an organ that two or more have, one of those
    is on the side, as far as half as many patients again (at least one) can see to it.

    Args:
        patients: By name.
        share: Of the patients; 0: none is on the side.
        fewest: With fewer patients than this, none is on the side.
        seed: Of the hash.
        side: Whose places count.
    """
    if share == 0 or len(patients) < fewest:
        return [], list(patients)
    ordered = in_order(patients, seed, side)
    by_place = [patient for patient in ordered if place(patient, seed, side) < share][: len(patients) // 2]
    holders = Counter(organ for patient in patients for organ in patient.organs)
    chosen = _left_to_train(by_place, holders)
    most = min(len(by_place) + max(1, len(by_place) // 2), len(patients) - 1) if by_place else 1
    while len(chosen) < most and (one_more := _most_wanted(ordered, chosen, holders)):
        chosen.append(one_more)
    on_side = set(chosen)
    return chosen, [patient for patient in ordered if patient not in on_side]


def _left_to_train(chosen: Sequence[Patient], holders: Mapping[int, int]) -> list[Patient]:
    """Return the chosen without those, the last first, who would leave an organ without a patient in the rest."""
    left = list(chosen)
    on_side = Counter(organ for patient in chosen for organ in patient.organs)
    for number in reversed(range(len(chosen))):
        if any(on_side[organ] == holders[organ] for organ in chosen[number].organs):
            on_side.subtract(left.pop(number).organs)
    return left


def _most_wanted(ordered: Sequence[Patient], chosen: Sequence[Patient], holders: Mapping[int, int]) -> Patient | None:
    """Return the patient with the most organs that the side lacks; None where nobody more is needed.

    A patient who leaves an organ without a patient in the rest comes only on a side that has nobody.
    """
    on_side = Counter(organ for patient in chosen for organ in patient.organs)

    def worth(patient: Patient) -> tuple[int, int]:
        untrained = sum(on_side[organ] + 1 == holders[organ] for organ in patient.organs)
        lacking = sum(on_side[organ] == 0 and holders[organ] > 1 for organ in patient.organs)
        return -untrained, lacking

    there = set(chosen)
    best = max((patient for patient in ordered if patient not in there), key=worth)  # of equal ones the first
    untrained, lacking = worth(best)
    return best if not chosen or (untrained == 0 and lacking > 0) else None


def dealt(patients: Sequence[Patient], folds: int, seed: int) -> list[list[Patient]]:
    """Return the patients that test in each of several folds: equally many, each organ in as many folds as it can be.

    The rarest organ goes first, each patient to the fold with the largest demand for it: an equal part of those that
    have the organ, but at least one where they suffice.

    Source: after iterative stratification, Sechidis et al. 2011.
    """
    hands: list[list[Patient]] = [[] for _ in range(folds)]
    room = [(len(patients) + folds - 1 - fold) // folds for fold in range(folds)]
    count = Counter(organ for patient in patients for organ in patient.organs)
    demand = {organ: [n / folds if n < folds else max(1.0, n / folds)] * folds for organ, n in count.items()}
    left = dict.fromkeys(in_order(patients, seed, "testing"))
    while left:
        rest = Counter(organ for patient in left for organ in patient.organs)
        rarest = min(rest, key=lambda organ: (rest[organ], organ), default=0)
        for patient in [patient for patient in left if rarest in patient.organs] or list(left):
            del left[patient]
            open_hands = [hand for hand in range(folds) if room[hand] > 0]
            hand = max(open_hands, key=lambda hand: (demand[rarest][hand] if rarest in demand else 0.0, room[hand]))
            hands[hand].append(patient)
            room[hand] -= 1
            for organ in patient.organs:
                demand[organ][hand] -= 1
    _mend(hands)
    return hands


def _mend(hands: Sequence[list[Patient]]) -> None:
    """Swap patients between hands while that lets more organs be in more hands: dealing does not look ahead."""
    held: dict[int, list[int]] = {}  # organ to its patients in each hand
    for h, hand in enumerate(hands):
        for organ in (organ for patient in hand for organ in patient.organs):
            held.setdefault(organ, [0] * len(hands))[h] += 1
    while _swap(hands, held):
        pass


def _swap(hands: Sequence[list[Patient]], held: dict[int, list[int]]) -> bool:
    """Make the first swap that helps, in `hands` and `held`; return whether one did."""
    lacking = {organ for organ, counts in held.items() if _lack(counts) > 0}
    first = [_first_of_each(hand) for hand in hands] if lacking else []
    for one, other in permutations(range(len(hands)), 2) if lacking else ():
        useful = [(i, giving) for i, giving in first[one] if not giving.organs.isdisjoint(lacking)]
        for (i, giving), (j, taking) in product(useful, first[other]):
            after = {organ: list(held[organ]) for organ in giving.organs ^ taking.organs}
            for organ, counts in after.items():
                step = 1 if organ in giving.organs else -1
                counts[one] -= step
                counts[other] += step
            if sum(_lack(after[organ]) - _lack(held[organ]) for organ in after) < 0:
                hands[one][i], hands[other][j] = taking, giving
                held.update(after)
                return True
    return False


def _first_of_each(hand: Sequence[Patient]) -> list[tuple[int, Patient]]:
    """Return the first patient with each set of organs, with its place: to swap another one of them is the same."""
    first: dict[frozenset[int], tuple[int, Patient]] = {}
    for place_in_hand, patient in enumerate(hand):
        first.setdefault(patient.organs, (place_in_hand, patient))
    return list(first.values())


def _lack(counts: Sequence[int]) -> int:
    """Return how many more hands could have an organ that has these patients in each hand.

    >>> _lack([4, 0, 1]), _lack([0, 1])
    (1, 0)
    """
    return min(sum(counts), len(counts)) - sum(n > 0 for n in counts)
