"""What a user's mistake gets: one line that names it, and the way out."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from command_line import SMALL_PLAN, Cli, assert_one_line, copy_of

from autoseg.errors import CasesFailedError, PlanError
from autoseg.options import PlanOptions
from autoseg.run import Run
from autoseg.steps import train_distributed
from autoseg.steps.earlier_plan import is_planned


def test_more_processes_than_crops_are_refused_before_any_is_started(
    finished: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_distributed.subprocess, "Popen", lambda *_, **__: pytest.fail("processes were started"))
    outcome = cli("train", finished, "--iterations", "6", "--gpus", "9", "--device", "cpu")
    assert_one_line(outcome, "batch_size 2 on 9 processes", "start at most 2, or plan for them", "--gpus 9")


def test_a_team_that_fails_while_it_is_ended_is_not_called_interrupted(
    finished: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_full_disk(command: list[str], _: Path) -> tuple[int, int]:
        Path(command[3]).write_text("model.autoseg: No space left on device")
        return 1, 1

    monkeypatch.setattr(train_distributed, "run_team", on_full_disk)
    outcome = cli("train", finished, "--iterations", "6", "--gpus", "2", "--device", "cpu")
    assert_one_line(outcome, "No space left on device")


def test_an_edited_plan_is_used_as_it_is_and_for_its_own_dataset_only(
    finished: Path, cohort: Path, tmp_path: Path, cli: Cli, caplog: pytest.LogCaptureFixture
) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    file = run / "plan.json"
    file.write_text(file.read_text().replace('"batch_size": 2', '"batch_size": 1'))
    assert_one_line(cli("plan", cohort, run, *SMALL_PLAN), "edited", "--force")
    other = tmp_path / "other"
    shutil.copytree(cohort, other)
    assert_one_line(cli("run", other, run, *SMALL_PLAN), "edited", f"not of {other}", "--force")
    (tmp_path / "link").symlink_to(cohort)
    with caplog.at_level("WARNING"):
        for place in (tmp_path / "other" / ".." / "link", cohort / "dataset.json", cohort):
            assert is_planned(place, Run(run), PlanOptions(folds=3))
    assert "these change nothing: --folds; use --force" in caplog.text
    for damaged in ({"dataset": "a\0b", "options": {}}, {"dataset": 5}):
        (run / "dataset.json").write_text(json.dumps(damaged))
        with pytest.raises(PlanError, match="was edited by hand, and is of the dataset"):
            is_planned(cohort, Run(run), PlanOptions())
    (run / "dataset.json").write_text(json.dumps({"dataset": str(cohort), "options": [1]}))
    assert is_planned(cohort, Run(run), PlanOptions())
    assert '"batch_size": 1' in file.read_text()


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("crop_size", [16, 30, 32], ("crop_size", "[16, 30, 32]".replace("[", "(").replace("]", ")"), "nearest")),
        ("batch_size", 0, ("batch_size", "0")),
        ("colour", "red", ("colour",)),
        ("labels", [], ("labels",)),
    ],
)
def test_nonsense_in_a_plan_is_named(
    finished: Path, tmp_path: Path, cli: Cli, key: str, value: object, parts: tuple[str, ...]
) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    plan = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps(plan | {key: value}))
    assert_one_line(cli("train", run), "plan.json", *parts)


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path, cli: Cli) -> None:
    for verb in ("preprocess", "train", "evaluate", "report"):
        assert_one_line(cli(verb, tmp_path), "not a RUN", "autoseg plan")
    assert not list(tmp_path.iterdir())
    assert_one_line(cli("predict", tmp_path, tmp_path, tmp_path / "out"), "no")


def test_a_dataset_without_a_label_is_refused_until_the_case_is_left_out(
    cohort: Path, tmp_path: Path, cli: Cli
) -> None:
    data = copy_of(cohort, tmp_path / "data")
    (data / "labelsTr" / "phantom_002.nii.gz").unlink()
    run = tmp_path / "RUN"
    outcome = cli("plan", data, run, *SMALL_PLAN)
    assert_one_line(outcome, "1 case cannot be used (phantom_002: ", "--exclude")
    done = cli("plan", data, run, *SMALL_PLAN, "--exclude", "phantom_002")
    assert done[0] == 0
    assert "phantom_002" not in (run / "split.json").read_text()


def test_wrong_usage_is_exit_code_2(cli: Cli) -> None:
    assert cli("train")[0] == 2
    assert cli("plan", "a", "b", "--no-such-option")[0] == 2


def test_missing_paths_are_one_line(tmp_path: Path, cli: Cli) -> None:
    assert_one_line(cli("check", tmp_path / "nowhere"), "nowhere")
    (tmp_path / "empty").mkdir()
    assert_one_line(cli("check", tmp_path / "empty"), "empty")
    (tmp_path / "empty" / "dataset.json").write_text("{ broken")
    assert_one_line(cli("plan", tmp_path / "empty", tmp_path / "RUN"), "dataset.json")


def test_a_device_is_not_a_setting(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    outcome = cli("plan", cohort, tmp_path / "RUN", "--device", "cpu", "--set", "device=cuda", "-j", "1")
    assert_one_line(outcome, "--set device=cuda: give it as --device")


def test_a_preset_that_does_not_fit_is_refused_with_what_would(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    outcome = cli("plan", cohort, tmp_path / "RUN", "--preset", "roth2018", "--gpu-memory", "1", "-j", "1")
    assert_one_line(outcome, "preset roth2018: a step would take", "nearest that fits: --set batch_size=1")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--set", "spacing_mm=[0.001,0.001,0.001]"), ("the median volume would have", "its own spacing is")),
        (("--set", "spacing_mm=[400,400,400]"), ("the median volume would have", "coarser")),
        (("--set", "batchsize=2"), ("the plan has no such key", "near it: batch_size")),
        (("--set", "network.norm=layer"), ("network.norm", "write KEY=VALUE")),
        (("--preset", "roth2019"), ("--preset roth2019: there is no such preset or file; presets: roth2018",)),
        (("--split", "nowhere.json"), ("--split nowhere.json: there is no such file",)),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_line_with_a_way_out(
    cohort: Path, tmp_path: Path, cli: Cli, options: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert_one_line(cli("plan", cohort, tmp_path / "RUN", "--gpu-memory", "8", "-j", "1", *options), *parts)


def test_a_plan_that_is_no_json_is_not_shown_whole(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "plan.json").write_text('{"format": 1,, "name": "x"}')
    code, _, error = cli("train", tmp_path)
    assert code == 1
    assert "plan.json" in error
    assert "format" not in error


def test_a_run_without_a_model_cannot_be_exported(cohort: Path, cli: Cli, tmp_path: Path) -> None:
    assert cli("plan", cohort, tmp_path / "RUN", *SMALL_PLAN)[0] == 0
    assert_one_line(cli("export", tmp_path / "RUN", tmp_path / "m"), "no trained fold", "autoseg train")


def test_one_bad_scan_does_not_stop_the_others(finished: Path, cohort: Path, tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for n in (0, 1):
        shutil.copy(cohort / "imagesTr" / f"phantom_00{n}_0000.nii.gz", folder)
    whole = (folder / "phantom_000_0000.nii.gz").read_bytes()
    (folder / "phantom_000_0000.nii.gz").write_bytes(whole[: len(whole) // 2])
    code, _, err = cli("predict", finished, folder, tmp_path / "out")
    assert code == 1
    assert "1 of 2 cases failed" in err
    assert "phantom_000" in err
    assert (tmp_path / "out" / "phantom_001.nii.gz").is_file()


def test_a_dataset_in_the_place_of_a_run_is_told_apart(cohort: Path, cli: Cli) -> None:
    assert_one_line(cli("evaluate", cohort), "a dataset, not a RUN", "planned for it")


def test_a_plan_for_gpus_that_are_not_there_is_refused(
    cohort: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert_one_line(cli("plan", cohort, tmp_path / "RUN", "--gpus", "2"), "--gpus 2", "no GPU", "--gpu-memory")


def test_images_and_label_maps_that_share_no_name_are_told_so_once(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    data = copy_of(cohort, tmp_path / "data")
    for file in (data / "labelsTr").iterdir():
        file.rename(file.with_name(f"seg-{file.name}"))
    assert_one_line(cli("check", data), "no image and label map have one name", "phantom_000", "CSV")


def test_a_long_list_of_failures_is_cut() -> None:
    text = str(CasesFailedError("score", {f"c{n:03d}": "is bad" for n in range(30)}, done=2))
    assert text.splitlines()[-1] == "  … and 10 more"
    assert len(text.splitlines()) == 22


@pytest.mark.parametrize(("key", "near"), [("patch_size", "crop_size"), ("batchsize", "batch_size")])
def test_a_setting_that_no_plan_has_is_refused_before_any_case_is_read(
    cohort: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str, near: str
) -> None:
    monkeypatch.setattr("autoseg.steps.plan.check", lambda *_, **__: pytest.fail("cases were read"))
    assert_one_line(cli("plan", cohort, tmp_path / "RUN", "--set", f"{key}=[64,64,64]"), f"--set {key}", near)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--exclude", "phantom_9"), "--exclude phantom_9"),
        (("--folds", "6"), "6 folds are not possible with 5 patients"),
        (("--folds", "5", "--exclude", "phantom_000"), "5 folds are not possible with 4 patients"),
        (("--split", "SPLIT"), "phantom_9"),
    ],
)
def test_options_of_other_cases_are_refused_before_any_case_is_read(
    cohort: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], told: str
) -> None:
    monkeypatch.setattr("autoseg.steps.plan.check", lambda *_, **__: pytest.fail("cases were read"))
    split = tmp_path / "split.json"
    split.write_text('[{"training": ["phantom_9"], "validation": [], "testing": []}]')
    given = [str(split) if option == "SPLIT" else option for option in options]
    assert_one_line(cli("plan", cohort, tmp_path / "RUN", *given), told)


def test_readers_scores_of_other_organs_are_refused_and_the_earlier_report_stays(
    finished: Path, tmp_path: Path, cli: Cli
) -> None:
    file = tmp_path / "readers.csv"
    text = (finished / "scores.csv").read_text()
    file.write_text(re.sub(r",(artery|vein|liver|spleen|stomach|gallbladder|pancreas),", ",label 1,", text))
    folder = copy_of(finished, tmp_path / "RUN") / "report"
    before = {one: one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    outcome = cli("report", folder.parent, "--observers", file, "-j", "1")
    assert_one_line(outcome, "readers.csv: has no organ of this run (label 1, not ", "--labels")
    assert {one: one.read_bytes() for one in folder.rglob("*") if one.is_file()} == before


def test_without_a_screen_the_page_is_named_and_not_opened(
    finished: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("typer.launch", lambda _: pytest.fail("a browser was started"))
    code, out, _ = cli("view", finished, "phantom_000")
    assert code == 0
    assert "open the page in a browser elsewhere" in " ".join(out.split())
