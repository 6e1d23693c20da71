"""Scores from RUNs and from the files of others: what is read, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from autoseg.errors import AutosegError, RunError
from autoseg.evaluation.published import PAPER, published_beside, published_note, published_table
from autoseg.evaluation.scores import COLUMNS
from autoseg.evaluation.sources import ScoreSource, open_sources
from autoseg.evaluation.statistics import NUMBERS, TOTAL, dice_table
from autoseg.metrics.registry import comparable_metric

Row = list[object]


def row(case: str, organ: str, label: int, value: float | None, split: str = "testing", fold: int = 0) -> Row:
    return [fold, case, split, organ, label, "dice", value, "original"]


def write_scores(file: Path, *rows: Row) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(list(rows), columns=list(COLUMNS)).to_csv(file, index=False)
    return file


def write_text(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def write_summary(file: Path, cases: dict[str, dict[str, float]]) -> Path:
    found = [
        {
            "prediction_file": f"/out/{case}.nii.gz",
            "reference_file": f"/truth/{case}.nii.gz",
            "metrics": {key: {"Dice": dice, "IoU": dice / (2 - dice), "n_pred": 5} for key, dice in dices.items()},
        }
        for case, dices in cases.items()
    ]
    return write_text(file, json.dumps({"metric_per_case": found, "mean": {}, "foreground_mean": {}}))


def opened(*names: Path | str, metric: str = "dice") -> list[ScoreSource]:
    return list(open_sources([str(name) for name in names], metric))


def values(source: ScoreSource) -> pd.DataFrame:
    assert source.values is not None
    return source.values


def refusal(*names: Path | str, metric: str = "dice") -> str:
    with pytest.raises(AutosegError) as caught:
        opened(*names, metric=metric)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_only_the_testing_cases_of_scores_csv_count_and_the_others_are_known_as_trained_on(tmp_path: Path) -> None:
    file = write_scores(
        tmp_path / "run" / "scores.csv",
        row("a", "liver", 1, 0.9),
        row("b", "liver", 1, 0.8, "training"),
        row("c", "liver", 1, 0.7, "validation"),
    )
    (source,) = opened(file)
    assert source.name == "run"
    assert values(source).to_dict() == {"liver": {"a": 0.9}}
    assert source.trained_on == {"b", "c"}
    assert source.labels == {"liver": 1}


def test_a_run_knows_by_its_split_what_it_was_trained_on(tmp_path: Path) -> None:
    write_scores(tmp_path / "run" / "scores.csv", row("a", "liver", 1, 0.9))
    write_text(tmp_path / "run" / "plan.json", "{}")
    write_text(
        tmp_path / "run" / "split.json", json.dumps([{"training": ["b"], "validation": ["c"], "testing": ["a"]}])
    )
    assert opened(tmp_path / "run")[0].trained_on == {"b", "c"}


def test_in_a_cross_validation_every_case_is_held_out_once(tmp_path: Path) -> None:
    write_scores(
        tmp_path / "run" / "scores.csv",
        row("a", "liver", 1, 0.9, "testing", 0),
        row("b", "liver", 1, 0.99, "training", 0),
        row("a", "liver", 1, 0.99, "training", 1),
        row("b", "liver", 1, 0.7, "testing", 1),
    )
    (source,) = opened(tmp_path / "run")
    assert values(source)["liver"].to_dict() == {"a": 0.9, "b": 0.7}
    assert source.trained_on == frozenset()


def test_a_case_tested_by_two_folds_counts_once_with_its_mean(tmp_path: Path) -> None:
    write_scores(
        tmp_path / "s.csv",
        row("a", "liver", 1, 0.9, fold=0),
        row("a", "liver", 1, 0.7, fold=1),
        row("b", "liver", 1, 1),
    )
    (source,) = opened(tmp_path / "s.csv")
    assert values(source)["liver"].to_dict() == pytest.approx({"a": 0.8, "b": 1.0})
    assert source.notes == ("s: the mean counts where several folds test a case (1 case).",)


def test_what_a_scores_csv_was_trained_on_is_not_known_where_all_is_testing(tmp_path: Path) -> None:
    assert opened(write_scores(tmp_path / "s.csv", row("a", "liver", 1, 0.9)))[0].trained_on is None


def test_a_row_number_is_no_organ_and_columns_that_disagree_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "frame.csv"
    pd.DataFrame({"case": [f"c{n}" for n in range(6)], "liver": [0.9] * 6}).to_csv(file)  # with pandas' row numbers
    (scored,) = open_sources([str(file)], "dice")
    assert list(scored.values.columns) == ["liver"]
    assert scored.values["liver"].tolist() == [0.9] * 6
    file.write_text("case,liver,ml\na,0.9,1200\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"column ml goes up to 1200 and liver only to 0\.9"):
        open_sources([str(file)], "dice")


@pytest.mark.parametrize(("cell", "said"), [("0.9", "shares from 0 to 1"), ("90", "percent")])
def test_a_table_by_case_is_read_as_shares_or_percent_and_says_which(tmp_path: Path, cell: str, said: str) -> None:
    file = write_text(
        tmp_path / "table.csv", f'Case, fold ,liver,"left, ""upper"" lobe"\n007,1,{cell},\nNA,0,,{cell}\n'
    )
    (source,) = opened(file)
    assert list(values(source).columns) == ["liver", 'left, "upper" lobe']
    assert values(source)["liver"].dropna().to_dict() == pytest.approx({"007": 0.9})
    assert set(values(source).index) == {"007", "NA"}
    assert said in source.notes[0]


@pytest.mark.parametrize(
    "text", ["case;liver\na;0,9\nb;0.8\n", "sep=;\ncase;liver\na;0,9\nb;0,8\n", "case\tliver\na\t0,9\nb\t0.8\n"]
)
def test_a_table_is_read_as_spreadsheets_save_it(tmp_path: Path, text: str) -> None:
    (source,) = open_sources([str(write_text(tmp_path / "t.csv", text))], "dice")
    assert source.values is not None
    assert source.values["liver"].to_dict() == {"a": 0.9, "b": 0.8}


def test_a_table_may_repeat_a_case_and_its_mean_counts(tmp_path: Path) -> None:
    (source,) = opened(write_text(tmp_path / "t.csv", "case,fold,liver\na,0,0.8\na,1,0.6\n"))
    assert values(source)["liver"].to_dict() == pytest.approx({"a": 0.7})
    assert "1 row more than cases" in source.notes[1]


def test_nnunets_summary_is_named_by_the_dataset_json_two_folders_above(tmp_path: Path) -> None:
    file = write_summary(
        tmp_path / "net" / "fold_0" / "validation" / "summary.json",
        {"Fall_1 ü": {"0": 1.0, "1": 0.9, "(1, 2)": float("nan")}, "b": {"0": 1.0, "1": 0.8, "(1, 2)": 0.7}},
    )
    labels = {"background": 0, "liver": 1, "whole": [1, 2]}
    write_text(tmp_path / "net" / "dataset.json", json.dumps({"labels": labels}))
    for name in (file, file.parent):  # the folder will do
        (source,) = opened(name)
        assert source.name == "validation"
        assert values(source)["liver"].to_dict() == {"Fall_1 ü": 0.9, "b": 0.8}
        assert values(source)["whole"].dropna().to_dict() == {"b": 0.7}
        assert source.labels == {"liver": 1}
        assert "dataset.json" in source.notes[0]


def test_nnunets_labels_have_numbers_where_nothing_names_them(tmp_path: Path) -> None:
    file = write_summary(tmp_path / "summary.json", {"a": {"3": 0.5, "(1, 2)": 0.6}})
    assert set(values(opened(file)[0]).columns) == {"label 3", "label 1+2"}
    assert values(opened(file, metric="iou")[0])["label 3"]["a"] == pytest.approx(1 / 3)


def test_labels_of_the_decathlon_and_of_a_plan_name_organs_too(tmp_path: Path) -> None:
    file = write_summary(tmp_path / "summary.json", {"a": {"1": 0.5}})
    write_text(tmp_path / "plan.json", json.dumps({"labels": [{"value": 1, "name": "vein"}]}))
    assert list(values(opened(file)[0]).columns) == ["vein"]
    write_text(tmp_path / "dataset.json", json.dumps({"labels": {"0": "background", "1": "artery"}}))
    assert list(values(opened(file)[0]).columns) == ["artery"]


def test_sources_have_the_shortest_names_that_tell_them_apart(tmp_path: Path) -> None:
    one = write_scores(tmp_path / "x" / "run" / "scores.csv", row("a", "liver", 1, 0.9))
    two = write_scores(tmp_path / "y" / "run" / "scores.csv", row("a", "liver", 1, 0.9))
    other = write_scores(tmp_path / "mine.csv", row("a", "liver", 1, 0.9))
    assert [source.name for source in opened(one, two.parent)] == ["x/run", "y/run"]
    assert [source.name for source in opened(one.parent, other, "roth2018")] == ["run", "mine", "Roth et al. 2018"]


def test_a_file_that_is_none_of_these_is_refused_with_what_is_accepted(tmp_path: Path) -> None:
    for name, text in {"a.csv": "x;y\n1;2\n", "b.csv": "", "c.txt": "hello", "d.csv": "patient,dice\n1,0.4\n"}.items():
        said = refusal(write_text(tmp_path / name, text))
        assert name in said
        assert "nnU-Net's summary.json" in said
    (tmp_path / "e.nii.gz").write_bytes(bytes(range(256)))
    assert "cannot be read as text" in refusal(tmp_path / "e.nii.gz")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "neither scores.csv nor summary.json" in refusal(tmp_path / "empty")
    write_text(tmp_path / "run" / "plan.json", "{}")
    assert "autoseg evaluate" in refusal(tmp_path / "run")
    assert "no testing case" in refusal(write_scores(tmp_path / "s.csv", row("a", "liver", 1, 0.9, "training")))


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"metric_per_case": []}', '{"metric_per_case": [{"prediction_file": "a.nii.gz"}]}',
     '{"metric_per_case": [{"prediction_file": "a.nii.gz", "metrics": {"1": {"Dice": "high"}}}]}',
     '{"results": {"all": []}}'],
)  # fmt: skip
def test_a_damaged_summary_is_refused(tmp_path: Path, text: str) -> None:
    assert "summary.json" in refusal(write_text(tmp_path / "summary.json", text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("case,liver,scanner\na,0.9,GE\n", "scanner is 'GE'"),
        ("case,liver\n", "has no row"),
        ("case,fold\na,1\n", "has no organ's column"),
        ("case,liver\n,0.9\n", "a row without case"),
        ("case,liver\na,-0.1\n", "which cannot be"),
        ("case,liver\na,9000\n", "which cannot be"),
        ("case,liver\na,inf\n", "which cannot be"),
        ("case,liver,Liver\na,0.9,0.8\n", "liver twice"),
        ("case,liver\na,0.9\n\nb,0.9,0.8\n", "line 4: has 3 cells under 2 columns"),
        ('case,liver\n"a,0.9\n', "no sound CSV"),
        ("case,liver,spleen\na,0.9\n", "line 2: has fewer cells than the 3 columns"),
    ],
)
def test_a_table_that_cannot_be_scores_is_refused(tmp_path: Path, text: str, found: str) -> None:
    said = refusal(write_text(tmp_path / "t.csv", text))
    assert "t.csv" in said
    assert found in said


def test_scores_with_a_broken_number_are_refused(tmp_path: Path) -> None:
    bad: list[Any] = row("a", "liver", 1, 0.9)
    bad[6] = "high"
    assert "not a number" in refusal(write_scores(tmp_path / "s.csv", bad))
    assert "value of a metric from 0 to 1" in refusal(write_scores(tmp_path / "t.csv", row("a", "liver", 1, 90.0)))


def test_the_same_scores_twice_are_refused(tmp_path: Path) -> None:
    file = write_scores(tmp_path / "run" / "scores.csv", row("a", "liver", 1, 0.9))
    assert "twice" in refusal(file, file.parent)
    assert "twice" in refusal("roth2018", "roth2018")


def test_a_metric_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    file = write_scores(tmp_path / "s.csv", row("a", "liver", 1, 0.9))
    assert "compare one of dice" in refusal(file, metric="hd95_mm")
    assert "compare one of dice" in refusal(write_text(tmp_path / "t.csv", "case,liver\na,0.9\n"), metric="iou")
    assert "the paper has no iou" in refusal("roth2018", metric="iou")
    with pytest.raises(RunError, match="--metric volume_ml: is not one of which a side is better"):
        comparable_metric("volume_ml")
    with pytest.raises(RunError, match=r"--metric HD95: there is no such metric; compare dice, .*hd95_mm"):
        comparable_metric("HD95")


@pytest.mark.parametrize("which", ["training", "testing"])
def test_the_published_totals_are_the_means_over_the_organs(which: Any) -> None:
    table = published_table(which)
    means = table[table["Organ"] != TOTAL][list(NUMBERS)].mean()
    assert table[table["Organ"] == TOTAL][list(NUMBERS)].iloc[0].to_dict() == pytest.approx(means.to_dict(), abs=0.051)
    assert set(table["N"]) == {340.0 if which == "training" else 37.0}


def test_the_odd_deviation_of_the_stomach_has_a_footnote() -> None:
    assert "7.7" in published_note("training")
    assert "7.7" not in published_note("testing")
    assert "1803.08691" in published_note("testing")


def test_a_table_lies_beside_the_papers_for_the_organs_that_both_have() -> None:
    rows = [
        row("a", "Vein", 1, 0.5),
        row("a", "liver", 2, 0.9),
        row("a", "kidney", 3, 0.1),
        row("a", "spleen", 4, None),
    ]
    found = published_beside(dice_table(pd.DataFrame(rows, columns=list(COLUMNS)), ["testing"]), "testing")
    assert found is not None
    assert list(found["Organ"]) == ["Vein", "liver", "Mean of 2 organs"]  # no case has a spleen
    assert list(found["Avg."]) == pytest.approx([50.0, 90.0, 70.0])
    assert list(found[PAPER + "Avg."]) == pytest.approx([80.5, 97.1, 88.8])
    assert list(found[PAPER + "N"]) == [37, 37, 37]


def test_no_table_lies_beside_the_papers_where_no_organ_matches() -> None:
    table = dice_table(pd.DataFrame([row("a", "kidney", 1, 0.5)], columns=list(COLUMNS)), ["testing"])
    assert published_beside(table, "testing") is None
    assert published_beside(table.iloc[:0], "testing") is None


def test_an_organ_missed_in_every_case_does_not_hide_that_a_table_is_in_percent(tmp_path: Path) -> None:
    file = write_text(tmp_path / "t.csv", "case,liver,gallbladder\na,96,0\nb,91,0\n")
    (source,) = opened(file)
    assert values(source)["liver"].to_dict() == pytest.approx({"a": 0.96, "b": 0.91})
    assert set(values(source)["gallbladder"]) == {0.0}
