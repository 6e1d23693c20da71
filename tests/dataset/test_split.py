"""Tests of autoseg.dataset.split."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.dataset.split import Split, load_splits, make_splits, save_splits
from autoseg.errors import PlanError


def cohort(count: int, rare: dict[int, tuple[int, ...]] | None = None) -> dict[str, frozenset[int]]:
    """Return cases that all have organ 1; `rare` says which cases have an organ more."""
    more = rare or {}
    return {f"c{i:03d}": frozenset({1, *(organ for organ, at in more.items() if i in at)}) for i in range(count)}


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


def test_a_written_split_is_read_back(tmp_path: Path) -> None:
    splits = make_splits(cohort(9), seed=0, folds=3)
    save_splits(splits, tmp_path / "split.json")
    assert load_splits(tmp_path / "split.json", cohort(9)) == splits


def test_a_users_split_may_leave_cases_and_sides_out(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text('[{"training": ["c000"], "testing": ["c002"]}]')
    assert load_splits(file, cohort(3)) == (Split(training=("c000",), validation=(), testing=("c002",)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"training": ["c000"]},\n', "line 2"),
        ("{}", "list of folds"),
        ("[]", "list of folds"),
        ('["c000"]', "fold 0: must be an object"),
        ('[{"train": ["c000"], "testing": ["c001"]}]', "fold 0: must be an object .* found the keys train, testing"),
        ('[{"train": ["c000"], "val": ["c000"]}]', "c000 occurs twice"),
        ('[{"val": ["c000"]}]', "training is empty"),
        ('[{"training": "c000"}]', "training must be a list"),
        ('[{"training": [1]}]', "training must be a list"),
        ('[{"training": ["c000"], "testing": ["c999"]}]', "no case c999"),
        ('[{"training": ["c000"], "testing": ["c000"]}]', "c000 occurs twice"),
        ('[{"training": ["c000"]}, {"training": [], "testing": ["c001"]}]', "fold 1: training is empty"),
    ],
)
def test_a_wrong_split_file_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "split.json"
    file.write_text(text)
    with pytest.raises(PlanError, match=message) as caught:
        load_splits(file, cohort(3))
    assert "\n" not in str(caught.value)


def test_a_missing_split_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="autoseg plan"):
        load_splits(tmp_path / "split.json", cohort(3))


Cohort = dict[str, frozenset[int]]
organs = st.frozensets(st.integers(1, 5), max_size=5)
cohorts = st.lists(organs, min_size=1, max_size=30).map(lambda found: {f"c{i:03d}": o for i, o in enumerate(found)})
small_cohorts = st.lists(organs, min_size=2, max_size=8).map(lambda found: {f"c{i}": o for i, o in enumerate(found)})
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
    count = Counter(organ for found in cases.values() for organ in found)
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


def test_a_split_of_nnunet_tests_on_what_it_calls_val(tmp_path: Path) -> None:
    file = tmp_path / "splits_final.json"
    file.write_text('[{"train": ["c000", "c001"], "val": ["c002"]}, {"train": ["c002"], "val": ["c000"]}]')
    assert load_splits(file, cohort(3)) == (
        Split(training=("c000", "c001"), validation=(), testing=("c002",)),
        Split(training=("c002",), validation=(), testing=("c000",)),
    )


def test_a_table_is_read(tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    file.write_text("\ufeffcase,split\r\nc001,testing\r\n\r\n c000 ,training\r\nc002,validation\r\n", encoding="utf-8")
    assert load_splits(file, cohort(3)) == (Split(training=("c000",), validation=("c002",), testing=("c001",)),)


def test_a_table_may_have_folds(tmp_path: Path) -> None:
    file = tmp_path / "split.CSV"
    file.write_text("split,fold,case\ntraining,1,a\ntesting,1,b\ntraining,0,b\ntesting,0,a\n")
    found = load_splits(file, None)
    assert [(split.training, split.testing) for split in found] == [(("b",), ("a",)), (("a",), ("b",))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has the folds \[\]"),
        ("case,split\n", r"has the folds \[\]"),
        ("case,split\nc000,training\n\nc001,test\n", "line 4: needs the columns case, split .* found .*split 'test'"),
        ("case;split\nc000;training\n", "line 2: needs the columns"),
        ("case,split,fold\nc000,training,one\n", "line 2: needs the columns"),
        ("case,split,fold\nc000,training,1\n", r"has the folds \[1\]; .* number the folds from 0"),
        ("case,split\nc000,training\nc000,testing\n", "c000 occurs twice"),
        ("case,split\nc999,training\n", "no case c999"),
        ("case,split\nc000,testing\n", "training is empty"),
    ],
)
def test_a_wrong_table_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "split.csv"
    file.write_text(text)
    with pytest.raises(PlanError, match=message) as caught:
        load_splits(file, cohort(3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sides", list(itertools.combinations(["training", "validation", "testing"], 2)))
def test_a_patient_on_two_sides_is_refused_with_both_cases(tmp_path: Path, sides: tuple[str, str]) -> None:
    file = tmp_path / "split.json"
    fold = {"training": ["c000"], sides[0]: ["c000"], sides[1]: ["c001"]}
    if "training" not in sides:
        fold = {"training": ["c002"], sides[0]: ["c000"], sides[1]: ["c001"]}
    file.write_text(json.dumps([{"training": ["c002"]}, fold]))
    assert len(load_splits(file, cohort(3))) == 2
    message = f"fold 1: patient Ann is on two sides, c000 in {sides[0]} and c001 in {sides[1]}"
    with pytest.raises(PlanError, match=message) as caught:
        load_splits(file, cohort(3), {"c000": "Ann", "c001": "Ann", "c002": "Bob"})
    assert "\n" not in str(caught.value)


def test_a_patient_may_have_several_cases_on_one_side_and_another_side_in_another_fold(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text('[{"training": ["a", "b"], "testing": ["c"]}, {"training": ["c"], "testing": ["a", "b"]}]')
    assert len(load_splits(file, None, {"a": "Ann", "b": "Ann"})) == 2


def test_a_split_tells_the_side_of_every_case() -> None:
    split = Split(training=("a", "b"), validation=(), testing=("c",))
    assert split.sides() == {"training": ("a", "b"), "validation": (), "testing": ("c",)}
    assert split.cases() == ("a", "b", "c")
    assert [split.side_of(case) for case in ("b", "c", "d")] == ["training", "testing", None]
