"""scores.csv: written, read back, and refused where a cell is not what it should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoseg.errors import RunError
from autoseg.evaluation import scores
from autoseg.evaluation.scores import COLUMNS, Row, read_scores, score_rows, write_scores
from autoseg.labels import Label
from autoseg.metrics.registry import nsd_name

ROW: Row = dict(zip(COLUMNS, (0, 'a, "b"', "testing", "<liver>", 1, "dice", 0.987654321, "original"), strict=True))


def test_an_organ_of_several_values_is_scored_as_a_whole() -> None:
    whole, core = Label(value=1, name="whole"), Label(value=2, name="core")
    prediction, truth = np.array([[[0, 1, 2, 2]]]), np.array([[[1, 2, 1, 2]]])
    about = {"fold": 0, "case": "a", "split": "testing", "grid": "original"}
    rows = score_rows(prediction, truth, {whole: (1, 2), core: (2,)}, (10.0, 10.0, 10.0), about)
    values = {(row["organ"], row["label"], row["metric"]): row["value"] for row in rows}
    assert values["whole", 1, "dice"] == pytest.approx(6 / 7)  # 3 voxels of 4, all of them rightly
    assert values["core", 2, "dice"] == pytest.approx(1 / 2)
    assert (values["whole", 1, "volume_ml"], values["core", 2, "volume_ml"]) == (3.0, 2.0)


def test_scores_read_back_as_they_were_written(tmp_path: Path) -> None:
    write_scores([ROW, {**ROW, "metric": "hd95_mm", "value": None}], tmp_path / "s.csv")
    found = read_scores(tmp_path / "s.csv")
    assert list(found.columns) == list(COLUMNS)
    assert found.iloc[0].to_dict() == ROW
    assert found["value"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"value": "high"}, "'high' stands for a value, which is not a number"),
        ({"value": float("inf")}, "infinite"),
        ({"value": 94.1}, "value of a metric from 0 to 1"),
        ({"value": -0.5}, "value of a metric from 0 to 1"),
        ({"fold": 0.5}, "fold, which is not a whole number"),
        ({"label": "liver"}, "label, which is not a whole number"),
        ({"split": "test"}, "'test' stands for a split, which is none of training, validation, testing"),
        ({"grid": "Original"}, "grid, which is none of original, working"),
        ({}, "row, which repeats another"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(tmp_path: Path, change: Row, cause: str) -> None:
    write_scores([ROW, {**ROW, "case": "c", **change} if change else ROW], tmp_path / "s.csv")
    with pytest.raises(RunError, match=rf"s\.csv: line 3: .*{cause}"):
        read_scores(tmp_path / "s.csv")


def test_the_tolerance_stands_in_the_name_of_the_metric() -> None:
    assert [nsd_name(mm) for mm in (2.0, 0.5, 0.0)] == ["nsd_2mm", "nsd_0.5mm", "nsd_0mm"]


def test_no_name_in_scores_is_a_formula_and_all_come_back(tmp_path: Path) -> None:
    about = {"fold": 0, "case": "-a", "split": "testing", "grid": "original", "label": 1}
    write_scores([about | {"organ": "=1+1", "metric": "dice", "value": 0.5}], tmp_path / "scores.csv")
    assert "0,'-a,testing,'=1+1,1,dice,0.5,original" in (tmp_path / "scores.csv").read_text()
    frame = read_scores(tmp_path / "scores.csv")
    assert (frame["case"][0], frame["organ"][0]) == ("-a", "=1+1")


@pytest.mark.parametrize("names", [("001", "002"), ("01", "1"), ("1.10", "1.1"), ("True", "a"), ("0x1", "1")])
@pytest.mark.parametrize("rows_at_a_time", [1, 100])
def test_names_that_look_like_numbers_stay_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str], rows_at_a_time: int
) -> None:
    monkeypatch.setattr(scores, "ROWS", rows_at_a_time)
    write_scores([{**ROW, "case": name, "organ": name} for name in names], tmp_path / "s.csv")
    frame = read_scores(tmp_path / "s.csv")
    assert (tuple(frame["case"]), tuple(frame["organ"])) == (names, names)
    assert isinstance(frame["case"].dtype, pd.CategoricalDtype)


@pytest.mark.parametrize("last", ["0\n", "0", "0,a,tes", "0,a,testing,liver"])
def test_a_last_line_that_was_cut_and_is_read_alone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.setattr(scores, "ROWS", 2)
    write_scores([{**ROW, "case": name} for name in ("1", "2")], tmp_path / "s.csv")
    with (tmp_path / "s.csv").open("a") as stream:
        stream.write(last)
    with pytest.raises(RunError, match=r"s\.csv: line 4: .*run `autoseg evaluate RUN` again"):
        read_scores(tmp_path / "s.csv")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_scores_that_a_spreadsheet_saved_are_the_same(tmp_path: Path, separator: str) -> None:
    label = np.array([[[0, 1, 1, 1]]])
    about = {"fold": 0, "case": "a", "split": "testing", "grid": "original"}
    organs = {Label(value=1, name="liver"): (1,), Label(value=2, name="vein"): (2,)}
    rows = score_rows(np.array([[[0, 0, 1, 1]]]), label, organs, (1.0, 1.0, 1.0), about)
    write_scores(rows, tmp_path / "scores.csv")
    before = read_scores(tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().replace(",", separator).replace(".", ",")
    (tmp_path / "scores.csv").write_text(lines.replace("nsd_2,0", "nsd_2.0"), encoding="utf-8-sig")
    after = read_scores(tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(after, before, check_dtype=False)
    assert after["value"].isna().sum() > 0
