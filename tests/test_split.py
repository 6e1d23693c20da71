"""Tests of autoseg.planning.split."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoseg.errors import PlanError
from autoseg.planning.split import Split, load_splits, make_splits, save_splits


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
        ('[{"train": ["c000"]}]', "fold 0: must be an object"),
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
