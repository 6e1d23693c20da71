"""Tests of autoseg.evaluation.flow."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from autoseg.dataset.split import Split
from autoseg.evaluation import flow as module
from autoseg.evaluation.flow import UNUSABLE, characteristics, flow

PATIENTS = {"a1": "a", "a2": "a", "b": "b", "c": "c", "d": "d", "e": "e"}
SPLIT = Split(training=("a1", "a2"), validation=("b",), testing=("c",))


def test_every_case_is_on_a_side_or_left_out_with_the_reason() -> None:
    table = flow(PATIENTS, {"d": "label-missing"}, ["d", "e"], [SPLIT], ["c"])
    assert table.to_numpy().tolist() == [
        ["Found", 5, 6],
        ["Left out: at the user's request (--exclude)", 1, 1],
        ["Left out: there is no label map", 1, 1],
        ["Used", 3, 4],
        ["For training (the network learns from them)", 1, 2],
        ["For validation (tuning: clean-up and calibration)", 1, 1],
        ["For testing (used for no choice)", 1, 1],
        ["Tested and scored", 1, 1],
    ]


def test_of_several_folds_each_side_is_one_row_with_the_least_and_the_most() -> None:
    folds = [
        Split(training=("b",), validation=(), testing=("a1", "a2")),
        Split(training=("a1", "a2"), validation=(), testing=("b",)),
    ]
    assert flow(PATIENTS, {}, [], folds, ["a1", "b"]).to_numpy().tolist()[2:] == [
        ["Used", 2, 3],
        ["In each of 2 folds, for training (the network learns from them)", "1", "1 to 2"],
        ["In each of 2 folds, for validation (tuning: clean-up and calibration)", "0", "0"],
        ["In each of 2 folds, for testing (used for no choice)", "1", "1 to 2"],
        ["Tested and scored", 2, 2],
    ]


def test_no_patients_are_counted_where_the_dataset_names_none() -> None:
    table = flow({name: name for name in "abc"}, {}, [], [SPLIT], [])
    assert list(table.columns) == ["Step", "Cases"]
    assert table.to_numpy().tolist()[0] == ["Found", 3]


def test_characteristics_count_the_patients_of_each_side() -> None:
    groups = pd.DataFrame({"sex": {"a1": "F", "a2": "F", "b": "M", "c": "F", "d": "M"}})
    table = characteristics(groups, PATIENTS, [SPLIT])
    assert list(table.columns) == ["Characteristic", "Training", "Validation", "Testing"]
    assert table.to_numpy().tolist() == [["sex: F", 1, 0, 1], ["sex: M", 0, 1, 0]]


def test_every_finding_that_leaves_a_case_out_has_a_reason_in_words() -> None:
    room = Path(module.__file__).parents[1] / "dataset"
    sources = "\n".join(file.read_text(encoding="utf-8") for file in room.glob("*.py"))
    codes = set(re.findall(r'"([a-z][a-z-]+)",\s*(?:"fatal"|severity(?!=))', sources)) - {"file-unused"}  # of no case
    assert {"image-missing", "channels", "shape", "geometry", "label-values", "image-constant"} <= codes
    assert codes <= set(UNUSABLE)
    assert {"image-unusable", "label-unusable"} <= set(UNUSABLE)  # made of "image" or "label"


def test_a_reason_of_a_later_version_is_shown_by_its_code() -> None:
    table = flow(PATIENTS, {"e": "image-haunted"}, [], [SPLIT], [])
    assert "Left out: cannot be used (image-haunted)" in list(table["Step"])
