"""Tests of autoseg.dataset.split."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoseg.dataset import draw
from autoseg.dataset.draw import Patient, place
from autoseg.dataset.split import Split, grow_splits, make_splits
from autoseg.errors import PlanError


def cohort(count: int, rare: dict[int, tuple[int, ...]] | None = None) -> dict[str, frozenset[int]]:
    """Return cases that all have organ 1; `rare` says which cases have another organ."""
    cases_of = (rare or {}).items()
    return {f"c{i:03d}": frozenset({1, *(organ for organ, cases in cases_of if i in cases)}) for i in range(count)}


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (2, 0, 1))])
def test_of_few_cases_one_tests_and_two_train(count: int, expected: tuple[int, int, int]) -> None:
    (split,) = make_splits(cohort(count), seed=0)
    assert (len(split.training), len(split.validation), len(split.testing)) == expected


def test_a_tenth_tests_and_a_tenth_of_the_rest_validates_on_average() -> None:
    splits = [make_splits(cohort(377), seed)[0] for seed in range(200)]  # the paper has 377, of which 37 test
    testing = np.array([len(split.testing) for split in splits])
    validation = np.array([len(split.validation) for split in splits])
    # binomial: 37.7 and 33.9, deviations 5.8 and 5.5, of a mean of 200 draws 0.41 and 0.39
    assert abs(testing.mean() - 37.7) < 1.5
    assert abs(validation.mean() - 33.9) < 1.5
    assert 4.5 < testing.std() < 7.5


@pytest.mark.parametrize("folds", [1, 3, 5])
def test_every_case_is_on_exactly_one_side(folds: int) -> None:
    cases = cohort(23)
    for split in make_splits(cases, seed=1, folds=folds):
        assert sorted(split.training + split.validation + split.testing) == sorted(cases)


def test_each_case_tests_in_exactly_one_of_several_folds() -> None:
    cases = cohort(23)
    splits = make_splits(cases, seed=1, folds=5)
    assert sorted(case for split in splits for case in split.testing) == sorted(cases)
    assert {len(split.testing) for split in splits} == {4, 5}


def test_the_order_of_the_input_does_not_matter() -> None:
    cases = cohort(40, {2: (3, 9, 31)})
    assert make_splits(cases, seed=7) == make_splits(dict(reversed(cases.items())), seed=7)


def test_another_seed_gives_another_split() -> None:
    assert make_splits(cohort(40), seed=1) != make_splits(cohort(40), seed=2)


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_organ_is_on_both_sides_and_a_single_one_in_training(seed: int) -> None:
    cases = cohort(100, {2: (5, 77), 3: (3, 50, 60), 4: (9,)})
    (split,) = make_splits(cases, seed)
    training = frozenset().union(*(cases[case] for case in split.training))
    testing = frozenset().union(*(cases[case] for case in split.testing))
    assert training == {1, 2, 3, 4}
    assert testing == {1, 2, 3}


def test_rare_organs_are_spread_over_the_folds() -> None:
    cases = cohort(30, {2: (0, 1, 2)})
    tested = [sum(2 in cases[case] for case in split.testing) for split in make_splits(cases, seed=0, folds=5)]
    assert sorted(tested) == [0, 0, 1, 1, 1]


def test_every_case_is_as_likely_to_test() -> None:
    drawn = [case for seed in range(400) for case in make_splits(cohort(20), seed)[0].testing]
    assert all(20 <= drawn.count(case) <= 62 for case in cohort(20))  # 40 expected, deviation 6


def test_cases_of_one_patient_stay_together() -> None:
    cases = cohort(40)
    patients = {case: f"p{int(case[1:]) // 2}" for case in cases}
    for split in make_splits(cases, seed=3, folds=4, patients=patients):
        sides = [{patients[case] for case in side} for side in (split.training, split.validation, split.testing)]
        assert sum(len(side) for side in sides) == len(frozenset().union(*sides))


def test_cases_without_organs_are_split_too() -> None:
    (split,) = make_splits({"a": frozenset(), "b": frozenset(), "c": frozenset({1})}, seed=0)
    assert sorted(split.training + split.testing) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("count", "folds", "share"), [(3, 4, 0.1), (3, 0, 0.1), (0, 1, 0.1), (3, 1, 1.0), (3, 1, -0.1)]
)
def test_an_impossible_request_is_refused(count: int, folds: int, share: float) -> None:
    with pytest.raises(PlanError):
        make_splits(cohort(count), seed=0, folds=folds, testing_share=share)


def test_no_testing_is_possible() -> None:
    (split,) = make_splits(cohort(10), seed=0, testing_share=0.0, validation_share=0.0)
    assert (len(split.training), split.validation, split.testing) == (10, (), ())


Cohort = dict[str, frozenset[int]]
organs = st.frozensets(st.integers(1, 5), max_size=5)
cohorts = st.lists(organs, min_size=1, max_size=30).map(lambda sets: {f"c{i:03d}": o for i, o in enumerate(sets)})
seeds = st.integers(0, 1000)
quick = settings(max_examples=100)


@st.composite
def cohorts_of_patients(draw: st.DrawFn) -> tuple[Cohort, dict[str, str]]:
    cases = draw(cohorts)
    return cases, {case: f"p{draw(st.integers(0, 9))}" for case in cases}


def held(cases: Cohort, side: Iterable[str]) -> frozenset[int]:
    return frozenset().union(*(cases[case] for case in side))


def untrained_and_untested(cases: Cohort, testing: Iterable[str]) -> tuple[int, int]:
    """Count the organs that are never outside `testing`, and those of at least two cases that are not in it."""
    tested = set(testing)
    count = Counter(organ for present in cases.values() for organ in present)
    train, test = held(cases, set(cases) - tested), held(cases, tested)
    return len(count.keys() - train), sum(n >= 2 and organ not in test for organ, n in count.items())


@quick
@given(cohorts_of_patients(), st.integers(1, 5), seeds)
def test_cases_are_on_one_side_and_patients_too_and_each_tests_once(
    cohort_of_patients: tuple[Cohort, dict[str, str]], folds: int, seed: int
) -> None:
    cases, patients = cohort_of_patients
    folds = min(folds, len(set(patients.values())))
    splits = make_splits(cases, seed, folds, patients=patients)
    for split in splits:
        sides = (split.training, split.validation, split.testing)
        assert split.training
        assert sorted(itertools.chain(*sides)) == sorted(cases)
        assert max(Counter(p for side in sides for p in {patients[case] for case in side}).values()) == 1
    if folds > 1:
        assert sorted(case for split in splits for case in split.testing) == sorted(cases)


@quick
@given(cohorts_of_patients(), st.randoms(use_true_random=False), st.integers(1, 3), seeds)
def test_no_order_of_the_input_changes_a_split(
    cohort_of_patients: tuple[Cohort, dict[str, str]], shuffle: Mapping[str, str], folds: int, seed: int
) -> None:
    cases, patients = cohort_of_patients
    folds = min(folds, len(set(patients.values())))
    mixed = list(cases)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    again = {case: frozenset(sorted(cases[case], reverse=True)) for case in mixed}
    patients_again = {case: patients[case] for case in reversed(mixed)}
    assert make_splits(again, seed, folds, patients=patients_again) == make_splits(
        cases, seed, folds, patients=patients
    )


@quick
@given(cohorts, st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.5, 0.9]), seeds)
def test_at_most_half_and_half_as_many_again_test_and_nobody_where_nothing_is_to_be_tested(
    cases: Cohort, share: float, seed: int
) -> None:
    (split,) = make_splits(cases, seed, testing_share=share)
    assert len(split.testing) <= 0.75 * len(cases)
    assert (len(split.testing) > 0) == (share > 0 and len(cases) > 1)
    assert split.training


@quick
@given(cohorts, st.integers(2, 5), seeds)
def test_folds_test_equally_many_cases(cases: Cohort, folds: int, seed: int) -> None:
    sizes = [len(split.testing) for split in make_splits(cases, seed, min(folds, len(cases)))]
    assert max(sizes) - min(sizes) <= 1 or len(sizes) == 1


@quick
@given(cohorts, seeds)
def test_an_organ_is_untrained_or_untested_only_where_there_is_no_room(cases: Cohort, seed: int) -> None:
    (split,) = make_splits(cases, seed)
    untrained, untested = untrained_and_untested(cases, split.testing)
    if len(split.testing) > 1:
        assert untrained == 0
    elif len(cases) > 1:  # nobody was drawn, so that the one who tests is the best that there is
        best = min(untrained_and_untested(cases, [case]) for case in cases)
        assert (untrained, untested) == best or untrained == 0
    if untested:  # one more who could test would leave an organ untrained, or there are already half as many again
        rest = [case for case in cases if case not in split.testing]
        drawn = max(1, sum(is_drawn(case, seed) for case in cases))
        full = len(split.testing) >= min(drawn + max(1, drawn // 2), len(cases) - 1) or len(split.testing) == 1
        harmful = all(
            untrained_and_untested(cases, [*split.testing, case])[0] > 0
            or untrained_and_untested(cases, [*split.testing, case])[1] == untested
            for case in rest
        )
        assert full or harmful


@quick
@given(cohorts, st.sets(st.integers(0, 29), min_size=4, max_size=4), seeds)
@example({"c000": frozenset(), "c001": frozenset()}, {0, 1, 2, 26}, 281)
def test_organs_that_the_sides_have_room_for_are_on_all_of_them(cases: Cohort, at: set[int], seed: int) -> None:
    # Four cases have every organ: one for testing, one to validate, two to train, unless three test by chance.
    more = cases | {f"all{i}": frozenset({1, 2, 3, 4, 5}) for i in sorted(at)}
    (split,) = make_splits(more, seed)
    assert held(more, split.training) == held(more, split.testing) == frozenset({1, 2, 3, 4, 5})
    if len([case for case in more if len(more[case]) == 5 and case not in split.testing]) > 1:
        assert held(more, split.validation) == frozenset({1, 2, 3, 4, 5})


@quick
@given(cohorts, seeds)
def test_an_organ_of_one_case_is_trained_on(cases: Cohort, seed: int) -> None:
    spare: Cohort = {f"spare{i}": frozenset() for i in range(6)}  # fill testing and validation, at most 3 each
    more = {"x": frozenset({6})} | cases | spare
    (split,) = make_splits(more, seed)
    assert held(more, split.training) == held(more, more)


@pytest.mark.parametrize("seed", range(20))
def test_rare_organs_of_which_one_case_has_both_are_trained_on_and_tested(seed: int) -> None:
    cases = cohort(10, {2: (3, 4), 3: (3, 5)})
    (split,) = make_splits(cases, seed)
    assert held(cases, split.training) == held(cases, split.testing) == {1, 2, 3}


def test_a_split_tells_the_side_of_every_case() -> None:
    split = Split(training=("a", "b"), validation=(), testing=("c",))
    assert split.sides() == {"training": ("a", "b"), "validation": (), "testing": ("c",)}
    assert split.cases() == ("a", "b", "c")
    assert [split.side_of(case) for case in ("b", "c", "d")] == ["training", "testing", None]


def is_drawn(case: str, seed: int) -> bool:
    """Say whether a patient tests by its name alone."""
    return place(Patient(name=case, cases=(case,), organs=frozenset()), seed, "testing") < 0.1


@pytest.mark.parametrize("seed", range(20))
def test_five_more_of_forty_cases_move_none_of_those_that_were_there(seed: int) -> None:
    names = np.random.default_rng(seed).permutation(1000)[:45]  # in any order, and with any names
    many = {f"case{name}": frozenset({1, 2}) for name in names}
    before, after = make_splits(dict(list(many.items())[:40]), 0)[0], make_splits(many, 0)[0]
    assert before.testing
    assert set(before.testing) <= set(after.testing)
    assert set(before.validation) <= set(after.validation)
    assert set(before.training) <= set(after.training)


@quick
@given(cohorts_of_patients(), cohorts_of_patients(), st.integers(1, 4), seeds)
def test_a_split_that_grows_moves_nobody_and_new_patients_train(
    few: tuple[Cohort, dict[str, str]], more: tuple[Cohort, dict[str, str]], folds: int, seed: int
) -> None:
    cases, patients = few
    cases = cases | {f"n{case}": organs for case, organs in more[0].items()}
    patients = patients | {f"n{case}": f"{patient}{int(patient[1:]) % 2}" for case, patient in more[1].items()}
    folds = min(folds, len(set(few[1].values())))
    before = make_splits(few[0], seed, folds, patients=few[1])
    after = grow_splits(before, cases, seed, patients)
    new = set(cases) - set(few[0])
    tests = Counter(case for split in after for case in split.testing)
    for old, now in zip(before, after, strict=True):
        assert sorted(now.cases()) == sorted(cases)
        for side, ids in old.sides().items():
            assert set(now.sides()[side]) - new == set(ids)
        sides = [{patients[case] for case in side} for side in now.sides().values()]
        assert sum(map(len, sides)) == len(set.union(*sides))
    assert all(tests[case] == (folds > 1) for case in new)


def test_cases_that_are_gone_leave_the_split_and_new_ones_of_a_patient_join_it() -> None:
    before = (Split(training=("a1", "b"), validation=(), testing=("c1",)),)
    patients = {"a1": "a", "a2": "a", "c1": "c", "c2": "c", "d": "d"}
    (after,) = grow_splits(before, ["a1", "a2", "c1", "c2", "d"], 0, patients)
    assert after == Split(training=("a1", "a2"), validation=("d",), testing=("c1", "c2"))


def test_nothing_grows_from_no_split() -> None:
    assert grow_splits((), ["a"], 0) == ()


def test_new_patients_test_in_the_folds_that_have_the_fewest() -> None:
    cases = cohort(9)
    before = make_splits(cases, 0, folds=4)  # three, two, two, two to test
    after = grow_splits(before, [*cases, "x", "y", "z"], 0)
    assert [len(split.testing) for split in after] == [3, 3, 3, 3]


def test_hands_are_mended_without_a_look_at_every_pair_of_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = 0

    def counted(*sequences: Iterable[object]) -> Iterable[tuple[object, ...]]:
        nonlocal pairs
        for pair in itertools.product(*sequences):
            pairs += 1
            yield pair

    def patient(name: str, *organs: int) -> Patient:
        return Patient(name=name, cases=(name,), organs=frozenset(organs))

    monkeypatch.setattr(draw, "product", counted)
    hands = [[patient(f"{hand}{n:04d}", 1) for n in range(1000)] for hand in "ab"]
    hands[0] += [patient("a-last", 1, 2), patient("a-very-last", 1, 2)]  # of organ 2, none is in the other hand
    draw._mend(hands)
    assert [sum(2 in one.organs for one in hand) for hand in hands] == [1, 1]
    assert [one.name for one in hands[0] if 2 in one.organs] == ["a-very-last"]  # the first that helps was swapped
    assert hands[1][0].name == "a-last"
    assert pairs < 10


def test_new_patients_test_in_the_folds_with_the_fewest() -> None:
    before = make_splits(cohort(20), seed=0, folds=4)
    after = grow_splits(before, cohort(400), seed=0)
    assert [len(split.testing) for split in after] == [100] * 4
    for old, new in zip(before, after, strict=True):
        assert set(old.testing) <= set(new.testing)
