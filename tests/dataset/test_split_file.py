"""Tests of autoseg.dataset.split_file."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from autoseg.dataset.split import Split
from autoseg.dataset.split_file import load_splits, splits_text
from autoseg.errors import PlanError

CASES = ("c000", "c001", "c002")


def test_a_written_split_is_read_back(tmp_path: Path) -> None:
    splits = (
        Split(training=("c000",), validation=("c001",), testing=("c002",)),
        Split(training=("c002",), validation=(), testing=("c000",)),
    )
    (tmp_path / "split.json").write_text(splits_text(splits), encoding="utf-8")
    assert load_splits(tmp_path / "split.json", CASES) == splits


def test_a_users_split_may_leave_cases_and_sides_out(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text('[{"training": ["c000"], "testing": ["c002"]}]')
    assert load_splits(file, CASES) == (Split(training=("c000",), validation=(), testing=("c002",)),)


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
def test_a_wrong_split_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "split.json"
    file.write_text(text)
    with pytest.raises(PlanError, match=message) as caught:
        load_splits(file, CASES)
    assert "\n" not in str(caught.value)


def test_a_missing_split_file_names_the_verb_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="autoseg plan"):
        load_splits(tmp_path / "split.json", CASES)


def test_a_split_of_nnunet_tests_on_what_it_calls_val(tmp_path: Path) -> None:
    file = tmp_path / "splits_final.json"
    file.write_text('[{"train": ["c000", "c001"], "val": ["c002"]}, {"train": ["c002"], "val": ["c000"]}]')
    assert load_splits(file, CASES) == (
        Split(training=("c000", "c001"), validation=(), testing=("c002",)),
        Split(training=("c002",), validation=(), testing=("c000",)),
    )


def test_a_table_is_read(tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    file.write_text("\ufeffcase,split\r\nc001,testing\r\n\r\n c000 ,training\r\nc002,validation\r\n", encoding="utf-8")
    assert load_splits(file, CASES) == (Split(training=("c000",), validation=("c002",), testing=("c001",)),)


@pytest.mark.parametrize(
    "text", ["Case;Split\nc000;training\n;\n", "sep=;\ncase;split\nc000;training\n", "case\tsplit\nc000\ttraining\n"]
)
def test_a_table_is_read_as_spreadsheets_save_it(tmp_path: Path, text: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "split.csv").write_text(text, encoding=encoding)
        assert load_splits(tmp_path / "split.csv", CASES) == (Split(training=("c000",), validation=(), testing=()),)


def test_a_table_may_have_folds(tmp_path: Path) -> None:
    file = tmp_path / "split.CSV"
    file.write_text("split,fold,case\ntraining,1,a\ntesting,1,b\ntraining,0,b\ntesting,0,a\n")
    folds = load_splits(file, None)
    assert [(split.training, split.testing) for split in folds] == [(("b",), ("a",)), (("a",), ("b",))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has the folds \[\]"),
        ("case,split\n", r"has the folds \[\]"),
        ("case,split\nc000,training\n\nc001,test\n", "line 4: needs the columns case, split .* found .*split 'test'"),
        ("case|split\nc000|training\n", "line 2: needs the columns"),
        ("case,split\nc000,training,1\n", "line 2: has 3 cells under 2 columns"),
        ("case,split,fold\nc000,training,one\n", "line 2: needs the columns"),
        ("case,split,fold\nc000,training,1\n", r"has the folds \[1\]; .* number the folds from 0"),
        ("case,split\nc000,training\nc000,testing\n", "c000 occurs twice"),
        ("case,split\nc999,training\n", "no case c999"),
        ("case,split\nc000,testing\n", "training is empty"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "split.csv"
    file.write_text(text)
    with pytest.raises(PlanError, match=message) as caught:
        load_splits(file, CASES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sides", list(itertools.combinations(["training", "validation", "testing"], 2)))
def test_a_patient_on_two_sides_is_refused_with_both_cases(tmp_path: Path, sides: tuple[str, str]) -> None:
    file = tmp_path / "split.json"
    fold = {"training": ["c000"], sides[0]: ["c000"], sides[1]: ["c001"]}
    if "training" not in sides:
        fold = {"training": ["c002"], sides[0]: ["c000"], sides[1]: ["c001"]}
    file.write_text(json.dumps([{"training": ["c002"]}, fold]))
    assert len(load_splits(file, CASES)) == 2
    message = f"fold 1: patient Ann is on two sides, c000 in {sides[0]} and c001 in {sides[1]}"
    with pytest.raises(PlanError, match=message) as caught:
        load_splits(file, CASES, {"c000": "Ann", "c001": "Ann", "c002": "Bob"})
    assert "\n" not in str(caught.value)


def test_a_patient_may_have_several_cases_on_one_side_and_another_side_in_another_fold(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text('[{"training": ["a", "b"], "testing": ["c"]}, {"training": ["c"], "testing": ["a", "b"]}]')
    assert len(load_splits(file, None, {"a": "Ann", "b": "Ann"})) == 2
