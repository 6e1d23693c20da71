"""Parts of a verb, and the call that gathers: the same files as of one call."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import Cli, assert_one_line, copy_of

from autoseg.dataset.examination_json import to_json
from autoseg.dataset.load import load_dataset
from autoseg.steps.check import check


def test_an_evaluation_in_parts_gives_the_same_files(finished: Path, tmp_path: Path, cli: Cli) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    masks = run / "fold-0" / "predictions"
    shutil.rmtree(masks)
    for file in (run / "scores.csv", run / "reliability.csv", run / "fold-0" / "evaluated.jsonl"):
        file.unlink()
    for part, cases in (("1/2", 3), ("2/2", 2)):
        assert (
            f"{cases} cases scored, as part {part}; the same command without" in cli("evaluate", run, "--part", part)[1]
        )
        assert not (run / "scores.csv").exists()
    written = {file: file.stat().st_mtime_ns for file in masks.iterdir()}
    assert "5 cases scored" in cli("evaluate", run)[1]
    assert {file: file.stat().st_mtime_ns for file in masks.iterdir()} == written
    for name in ("scores.csv", "reliability.csv"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()
    assert [file.name for file in (run / "fold-0").glob("evaluated*")] == ["evaluated.jsonl"]
    _, _, message = cli("evaluate", run, "--stress", "--part", "1/2")
    assert "--part: is for the RUN's own cases; leave it out with --dataset and --stress" in message


def test_a_check_in_parts_finds_what_one_call_finds(
    cohort: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = copy_of(cohort, tmp_path / "data")
    (data / "labelsTr" / "phantom_003.nii.gz").write_bytes(b"damaged")
    whole, file = tmp_path / "whole.json", tmp_path / "parts.json"
    assert cli("check", data, "-j", "1", "--json", whole)[0] == 1
    for part in ("1/2", "2/2"):
        assert cli("check", data, "-j", "1", "--json", file, "--part", part)[0] == 0
        assert not file.exists()
    monkeypatch.setattr("autoseg.steps.check.examine_case", pytest.fail)  # nothing is left to do
    assert cli("check", data, "-j", "1", "--json", file)[0] == 1
    assert file.read_bytes() == whole.read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data", "parts.json", "whole.json"]
    assert "--part: give --json FILE, too" in cli("check", data, "--part", "1/2")[2]


def test_a_plan_takes_from_its_parts_what_one_call_would_examine(
    cohort: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, whole = tmp_path / "RUN", check(load_dataset(cohort), 1)
    for part in ("1/6", "2/6", "3/6", "4/6", "5/6", "6/6"):  # the last one has no case
        assert cli("plan", cohort, run, "-j", "1", "--part", part)[0] == 0
    monkeypatch.setattr("autoseg.steps.check.examine_case", pytest.fail)  # nothing is left to do
    gathered = check(load_dataset(cohort), 1, product=run / "check.json")
    assert gathered.findings == whole.findings
    assert [to_json(one) for one in gathered.examinations] == [to_json(one) for one in whole.examinations]


def test_scores_in_parts_are_those_of_one_call(
    finished: Path, cohort: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks, truth = finished / "fold-0" / "predictions", cohort / "labelsTr"
    whole, file = tmp_path / "whole.csv", tmp_path / "parts.csv"
    how = ("--labels", cohort / "dataset.json", "--instances", "-j", "1")
    assert cli("score", masks, truth, "--out", whole, *how)[0] == 0
    for part, cases in (("1/6", 1), ("2/6", 1), ("3/6", 1), ("4/6", 1), ("5/6", 1), ("6/6", 0)):
        code, text, _ = cli("score", masks, truth, "--out", file, *how, "--part", part)
        assert (code, f"{cases} case{'' if cases == 1 else 's'} scored, as part {part}" in text) == (0, True)
    monkeypatch.setattr("autoseg.evaluation.folders._score_pair", pytest.fail)  # nothing is left to do
    assert "5 cases scored" in cli("score", masks, truth, "--out", file, *how)[1]
    assert file.read_bytes() == whole.read_bytes()
    pieces = [tmp_path / f"{name}_instances.csv" for name in ("parts", "whole")]
    assert pieces[0].read_bytes() == pieces[1].read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        [whole.name, file.name, *(p.name for p in pieces)]
    )


def test_predictions_in_parts_make_one_table(finished: Path, cohort: Path, tmp_path: Path, cli: Cli) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("phantom_000_0000.nii.gz", "phantom_001_0000.nii.gz"):
        shutil.copy(cohort / "imagesTr" / name, scans)
    outs = tmp_path / "whole", tmp_path / "parts"
    assert cli("predict", finished, scans, outs[0])[0] == 0
    for part in ("2/2", "1/2"):
        assert "1 mask" in cli("predict", finished, scans, outs[1], "--part", part)[1]
    assert "0 masks, 2 more were there" in cli("predict", finished, scans, outs[1])[1]
    names = sorted(entry.name for entry in outs[0].iterdir())
    assert [(outs[1] / name).read_bytes() for name in names] == [(outs[0] / name).read_bytes() for name in names]


@pytest.mark.parametrize("text", ["4/3", "0/3", "one"])
def test_what_is_no_part_is_refused_in_a_line(text: str, finished: Path, cli: Cli) -> None:
    code, _, message = cli("preprocess", finished, "--part", text)
    assert code == 1
    assert f"error: --part {text}: give the part and how many there are, as in 1/3, 2/3 and 3/3" in message


@pytest.mark.parametrize(
    ("verb", "way_out"),
    [("run", "give it to plan, preprocess and evaluate, with a call that gathers after each, and train between them"),
     ("report", "a report draws 60 cases at most, which one call does; leave it out, and give -j or --cluster")],
)  # fmt: skip
def test_a_verb_that_has_no_parts_says_what_to_do(verb: str, way_out: str, tmp_path: Path, cli: Cli) -> None:
    places = [tmp_path / "data"] * (verb == "run") + [tmp_path / "RUN"]
    assert_one_line(cli(verb, *places, "--part", "1/2"), "error: --part: ", way_out)
    assert not (tmp_path / "RUN").exists()
