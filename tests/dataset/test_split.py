"""Tests of autoseg.dataset.split."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.dataset.split import Split, make_splits
from autoseg.errors import PlanError


def cohort(count: int, rare: dict[int, tuple[int, ...]] | None = None) -> dict[str, frozenset[int]]:
    """Return cases that all have organ 1; `rare` says which cases have another organ."""
    cases_of = (rare or {}).items()
    return {f"c{i:03d}": frozenset({1, *(organ for organ, cases in cases_of if i in cases)}) for i in range(count)}


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (2, 0, 1)), (4, (2, 1, 1)), (10, (8, 1, 1)), (377, (306, 34, 37))],
)
def test_sizes_suit_few_cases_and_those_of_the_paper(count: int, expected: tuple[int, int, int]) -> None:
    (split,) = make_splits(cohort(count), seed=0)
    assert (len(split.training), len(split.validation), len(split.testing)) == expected


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
small_cohorts = st.lists(organs, min_size=2, max_size=8).map(lambda sets: {f"c{i}": o for i, o in enumerate(sets)})
seeds = st.integers(0, 1000)
quick = settings(max_examples=100, deadline=None)


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
def test_sizes_are_within_one_case_of_the_share(cases: Cohort, share: float, seed: int) -> None:
    (split,) = make_splits(cases, seed, testing_share=share)
    assert abs(len(split.testing) - share * len(cases)) <= 1
    rest = len(cases) - len(split.testing)
    assert abs(len(split.validation) - 0.1 * rest) <= 1


@quick
@given(cohorts, st.integers(2, 5), seeds)
def test_folds_test_equally_many_cases(cases: Cohort, folds: int, seed: int) -> None:
    sizes = [len(split.testing) for split in make_splits(cases, seed, min(folds, len(cases)))]
    assert max(sizes) - min(sizes) <= 1 or len(sizes) == 1


@quick
@given(small_cohorts, seeds)
def test_no_other_testing_case_would_leave_more_organs_on_both_sides(cases: Cohort, seed: int) -> None:
    (split,) = make_splits(cases, seed)
    assert len(split.testing) == 1
    assert untrained_and_untested(cases, split.testing) == min(untrained_and_untested(cases, [case]) for case in cases)


@quick
@given(cohorts, st.sets(st.integers(0, 29), min_size=4, max_size=4), seeds)
def test_organs_that_the_sides_have_room_for_are_on_all_of_them(cases: Cohort, at: set[int], seed: int) -> None:
    # Four cases have every organ, so that one for testing, one for validation and two for training exist.
    more = cases | {f"all{i}": frozenset({1, 2, 3, 4, 5}) for i in sorted(at)}
    (split,) = make_splits(more, seed)
    assert held(more, split.training) == held(more, split.testing) == frozenset({1, 2, 3, 4, 5})
    assert held(more, split.validation) == frozenset({1, 2, 3, 4, 5})


@quick
@given(cohorts, seeds)
def test_an_organ_of_one_case_is_trained_on(cases: Cohort, seed: int) -> None:
    spare: Cohort = {f"spare{i}": frozenset() for i in range(6)}  # fill testing and validation, at most 3 each
    more = {"x": frozenset({6})} | cases | spare
    (split,) = make_splits(more, seed)
    assert held(more, split.training) == held(more, more)


@pytest.mark.parametrize("seed", range(20))
def test_testing_takes_the_one_case_that_has_both_rare_organs(seed: int) -> None:
    cases = cohort(10, {2: (3, 4), 3: (3, 5)})  # one case tests: only case 3 leaves both organs in training too
    (split,) = make_splits(cases, seed)
    assert split.testing == ("c003",)


def test_a_split_tells_the_side_of_every_case() -> None:
    split = Split(training=("a", "b"), validation=(), testing=("c",))
    assert split.sides() == {"training": ("a", "b"), "validation": (), "testing": ("c",)}
    assert split.cases() == ("a", "b", "c")
    assert [split.side_of(case) for case in ("b", "c", "d")] == ["training", "testing", None]
