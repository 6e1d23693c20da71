"""Tests of autoseg.evaluation.two_stages: numbers by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from two_stages import FIRST

from autoseg.dataset.split import TESTING
from autoseg.evaluation.freshness import ScoreJournal, read_looks
from autoseg.evaluation.two_stages import COLUMNS, SecondLook, second_look, stage_seconds, two_stages
from autoseg.inference.upsample import Upsampler

VALUES = {"first_stage_ceiling": 0.8, "ceiling_dice": 0.96, "first_stage_dice": 0.6, "dice": 0.75}


def scores(values: dict[str, float]) -> pd.DataFrame:
    rows = [
        (0, case, split, "vein", 2, metric, value + more, "original")
        for case, split, more in (("a", "testing", 0.0), ("b", "testing", 0.02), ("c", "training", 0.2))
        for metric, value in values.items()
    ]
    columns = ["fold", "case", "split", "organ", "label", "metric", "value", "grid"]
    return pd.DataFrame(rows, columns=columns)


def test_both_stages_stand_beside_each_other_with_the_gain() -> None:
    table = two_stages(scores(VALUES), TESTING)
    assert list(table.columns) == list(COLUMNS)
    assert table.iloc[0].tolist() == ["vein", 2, *map(pytest.approx, (81.0, 97.0, 61.0, 76.0, 15.0))]


def test_there_is_no_row_of_one_stage() -> None:
    assert two_stages(scores({"dice": 0.75, "ceiling_dice": 0.9}), TESTING).empty


def test_where_a_second_stage_looked_and_how_long_is_known_from_the_journal(tmp_path: Path) -> None:
    upsampler = Upsampler(FIRST.scheme, (2, 2, 2), (4, 4, 4))
    assert second_look(upsampler) is None  # of one stage
    upsampler.stage_seconds = (1.25, 2.0)
    nothing = second_look(upsampler)
    assert nothing == SecondLook(boxes=(), seconds=(1.25, 2.0))
    upsampler.boxes = ((slice(0, 4), slice(1, 3), slice(2, 4)), (slice(0, 1), slice(0, 1), slice(0, 1)))
    look = second_look(upsampler)
    assert look == SecondLook(boxes=(((0, 4), (1, 3), (2, 4)), ((0, 1),) * 3), seconds=(1.25, 2.0))
    mask = tmp_path / "mask"
    mask.write_bytes(b"")
    journal = ScoreJournal(tmp_path / "journal")
    for case, of_case in (("a", look), ("b", nothing), ("c", None), ("a", nothing), ("a", look)):
        journal.append(case, "", mask, (), look=of_case)
    assert read_looks(tmp_path / "journal") == {"a": look, "b": nothing}
    assert read_looks(tmp_path / "none") == {}


def test_what_earlier_versions_noted_of_a_look_is_understood() -> None:
    one = {"box": [[0, 4], [1, 3], [2, 4]], "seconds": [1, 2]}
    assert SecondLook.of(one) == SecondLook(boxes=(((0, 4), (1, 3), (2, 4)),), seconds=(1.0, 2.0))
    assert SecondLook.of({"box": None, "seconds": [1, 2]}).boxes == ()


def test_the_seconds_of_each_stage_are_told_by_their_median_and_range() -> None:
    looks = [SecondLook(boxes=(), seconds=(first, 2 * first)) for first in (1.0, 3.0, 2.0)]
    assert stage_seconds(looks).to_numpy().tolist() == [["first", 3, 2.0, 1.0, 3.0], ["second", 3, 4.0, 2.0, 6.0]]
    assert stage_seconds([]).empty
