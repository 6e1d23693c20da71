"""Tests of autoseg.evaluation.two_stages: numbers by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from two_stages import FIRST, FLOOR, GRID, OF_LIVER, OF_VEIN, ByIntensity, second

from autoseg.data.cache import read_case
from autoseg.data.preprocess import preprocess
from autoseg.dataset.load import Case
from autoseg.dataset.split import TESTING
from autoseg.evaluation.freshness import ScoreJournal, read_looks
from autoseg.evaluation.score_case import CaseToScore, infer_case, score_case
from autoseg.evaluation.two_stages import COLUMNS, SecondLook, second_look, stage_seconds, two_stages
from autoseg.imaging.volumes import write_array
from autoseg.inference.model import Model
from autoseg.inference.stage import Stage
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


@pytest.mark.parametrize("seen", [0, 16])
def test_a_case_of_which_the_first_stage_finds_nothing_is_scored_and_told(
    seen: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, label = np.full(GRID.shape, FLOOR, np.int16), np.zeros(GRID.shape, np.uint8)
    image[:, 4:28, 4:28], label[:, 4:28, 4:28] = OF_LIVER, 4
    image[:, 12:19, 12:19], image[seen:, 12:19, 12:19], label[:, 12:19, 12:19] = OF_VEIN, 220, 9
    for name, array in (("image", image), ("label", label)):
        write_array(tmp_path / f"{name}.nii.gz", array, GRID)
    source = Case(id="a", images=(tmp_path / "image.nii.gz",), label=tmp_path / "label.nii.gz", patient="a")
    preprocess([source], FIRST, tmp_path / "cache")
    case = read_case(tmp_path / "cache", "a")
    assert case is not None
    stages = (Stage(networks=(ByIntensity(-2.0, 3.0),), plan=FIRST), Stage(networks=(ByIntensity(2.0),), plan=second()))
    model = Model(stages=stages, trained_on=frozenset())
    one = CaseToScore(case=case, source=source, split="testing", fold=0, mask=tmp_path / "out.nii.gz", tolerance_mm=2.0)
    scored = score_case(model, one, infer_case(model, one))
    dices = {row["metric"]: row["value"] for row in scored.rows if row["organ"] == "vein" and row["grid"] == "original"}
    assert (dices["dice"], dices["first_stage_dice"] < 1) == ((1.0, True) if seen else (0.0, True))
    assert scored.look is not None
    assert scored.look.boxes == ((((0, 16), (6, 22), (6, 22)),) if seen else ())  # first seen in 12 to 16
    assert ("a: the first stage finds nothing of vein" in caplog.text) == (not seen)
