"""What a user sees: the command line from check to report on a small phantom cohort, and what bad input gets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import SimpleITK as sitk
from command_line import SMALL, SMALL_PLAN, Cli, assert_one_line, copy_of

import autoseg
from autoseg.data.cache import CachedCase
from autoseg.data.preprocess import is_cached
from autoseg.dataset.load import load_dataset
from autoseg.dataset.origin import dataset_of
from autoseg.dataset.split_file import load_splits
from autoseg.evaluation import evaluate
from autoseg.evaluation import external as external_step
from autoseg.evaluation.external_source import note_source
from autoseg.evaluation.freshness import has_other_models, is_evaluated
from autoseg.imaging.readers import strip_suffix
from autoseg.imaging.volumes import read_grid, read_label
from autoseg.network.weights import read_facts
from autoseg.options import PlanOptions
from autoseg.phantom.scan import ORGANS
from autoseg.run import Run
from autoseg.steps import evaluate as evaluate_step
from autoseg.steps.earlier_plan import is_planned
from autoseg.training.checkpoint import CHECKPOINT

HOLDING = """
import sys
from pathlib import Path
from autoseg.parts import Folds
from autoseg.run import Run
with Run(Path(sys.argv[1])).locked("train", Folds((1,))):
    print("held", flush=True)
    sys.stdin.read()
"""
NOTES = ("digests.json", "timings.json")  # of what was read, and how long each verb took


def test_a_run_holds_everything_the_contract_names(finished: Path) -> None:
    for name in ("plan.json", "plan.md", "check.json", "fingerprint.json", "split.json", "scores.csv", "log.txt"):
        assert (finished / name).is_file(), name
    for name in ("model.autoseg", "checkpoint.safetensors", "log.csv", "curves.png"):
        assert (finished / "fold-0" / name).is_file(), name
    tables = [f"table{n}.{kind}" for n in ("1_training", "2_testing") for kind in ("csv", "md", "tex")]
    for name in ("report.html", "curves.png", "curves.svg", "trust.svg", "failures.md", "calibration.csv", *tables):
        assert (finished / "report" / name).is_file(), name


def test_scores_are_long_and_complete(finished: Path) -> None:
    scores = pd.read_csv(finished / "scores.csv")
    assert list(scores.columns) == ["fold", "case", "split", "organ", "label", "metric", "value", "grid"]
    tubular = 2  # artery and vein, which have clDice, too
    # cases, organs; metrics on both grids, those of errors, pieces and certainty on the original
    assert len(scores) == 5 * (len(ORGANS) * (13 * 2 + 17) + tubular * 2)
    assert list(dict.fromkeys(scores["organ"])) == list(ORGANS)
    assert set(scores["grid"]) == {"original", "working"}


def test_masks_lie_on_the_images_own_grids(finished: Path, cohort: Path) -> None:
    masks = sorted((finished / "fold-0" / "predictions").glob("*.nii.gz"))
    assert len(masks) == 5
    for mask in masks:
        image = read_grid(cohort / "imagesTr" / mask.name.replace(".nii.gz", "_0000.nii.gz"))
        found = read_grid(mask)
        assert found.shape == image.shape
        np.testing.assert_allclose(found.spacing_mm, image.spacing_mm, atol=1e-5)
        np.testing.assert_allclose(found.origin_mm, image.origin_mm, atol=1e-5)


def test_a_second_run_does_nothing_again(finished: Path, cohort: Path, cli: Cli) -> None:
    pictures = [file for file in finished.glob("report/*/*") if file.suffix in (".webp", ".png")]
    assert {file.parent.name for file in pictures} == {"cases", "organs", "surfaces"}
    kept = [
        *(finished / name for name in ("plan.json", "scores.csv", "fold-0/model.autoseg", "fold-0/log.csv")),
        *pictures,
    ]
    before = [file.stat().st_mtime_ns for file in kept]
    code, out, _ = cli("run", cohort, finished, *SMALL)
    assert code == 0
    assert "0 cases preprocessed" in out
    assert before == [file.stat().st_mtime_ns for file in kept]


def test_a_copy_of_a_run_with_new_times_is_as_fresh_as_it_was(
    finished: Path, cohort: Path, tmp_path: Path, cli: Cli
) -> None:
    run = tmp_path / "RUN"
    shutil.copytree(finished, run, copy_function=shutil.copyfile)
    patterns = ("cache/*", "fold-0/**/*", "*.json", "scores.csv", "report/*/*.webp")
    files = [file for pattern in patterns for file in run.glob(pattern) if file.name not in NOTES]
    before = {file: file.stat().st_mtime_ns for file in files}
    assert len(before) > 30
    code, out, _ = cli("run", cohort, run, *SMALL)
    assert code == 0
    assert "0 cases preprocessed" in out
    assert before == {file: file.stat().st_mtime_ns for file in before}
    assert is_evaluated(Run(run))


def test_another_dataset_and_changed_images_are_scored_and_told_when_models_change(
    finished: Path, cohort: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(copy_of(finished, tmp_path / "RUN"))
    told = [cli("evaluate", run.folder, *option)[1] for option in (("--dataset", cohort), ("--stress",))]
    assert f"scored -> {run.external(cohort.name).scores_file}" in told[0]
    assert f"scored -> {run.stress_file}" in told[1]
    external = pd.read_csv(run.external(cohort.name).scores_file)
    own = pd.read_csv(run.scores_file)
    dice = [
        frame[(frame["metric"] == "dice") & (frame["grid"] == "original")].groupby("organ")["value"].mean()
        for frame in (external, own)
    ]
    pd.testing.assert_series_equal(*dice, atol=1e-6)  # the same cases and the same model, by another way
    assert set(pd.read_csv(run.stress_file)["organ"]) == set(ORGANS)
    assert not has_other_models(run, "stress")
    linked = tmp_path / "linked"
    linked.symlink_to(cohort)
    assert evaluate_step._external(run, linked).folder.name == "linked"
    note_source(run.external(cohort.name), load_dataset(cohort / "dataset.json").root, load_dataset(cohort))
    elsewhere = copy_of(cohort, tmp_path / "site B" / cohort.name)
    code, _, message = cli("evaluate", run.folder, "--dataset", elsewhere)
    assert code == 1
    assert f"holds the scores of {cohort.resolve()}; give one of the two files or folders another name" in message
    monkeypatch.setattr(external_step, "_rows", lambda *_: pytest.fail("predicted again"))
    assert cli("evaluate", run.folder, "--dataset", cohort)[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv(run.external(cohort.name).scores_file), external)
    model = run.fold(0).model
    model.write_bytes(model.read_bytes() + b"\n")
    assert has_other_models(run, "stress")
    assert has_other_models(run, f"external {cohort.name}")


def test_of_another_dataset_bad_cases_are_named_and_scores_of_earlier_files_do_not_stay(
    finished: Path, cohort: Path, tmp_path: Path, cli: Cli
) -> None:
    run = Run(copy_of(finished, tmp_path / "RUN"))
    few = copy_of(cohort, tmp_path / "few")
    for file in sorted((few / "labelsTr").iterdir())[2:]:
        file.unlink()
    labels = sorted((few / "labelsTr").iterdir())
    moved = sitk.ReadImage(str(labels[0]))
    moved.SetOrigin([moved.GetOrigin()[0], moved.GetOrigin()[1], moved.GetOrigin()[2] + 3 * moved.GetSpacing()[2]])
    sitk.WriteImage(moved, str(labels[0]))
    code, _, message = cli("evaluate", run.folder, "--dataset", few)
    assert code == 1
    assert re.search(rf"{labels[0].name}: image .* and label .* lie [\d.]+ mm apart", message)
    assert set(pd.read_csv(run.external("few").scores_file)["case"]) == {strip_suffix(labels[1])}
    labels[1].write_bytes(b"damaged")
    assert cli("evaluate", run.folder, "--dataset", few)[0] == 1
    assert not run.external("few").scores_file.exists()  # those of before would pass for those of the files now


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sides: {**sides, "training": [*sides["training"], *sides["testing"]], "testing": []}, "has none"),
        (lambda sides: {**sides, "training": sides["testing"], "testing": sides["training"]}, "was trained on"),
    ],
)
def test_stress_is_refused_where_scores_would_say_nothing_of_new_patients(
    finished: Path, tmp_path: Path, cli: Cli, change: Callable[[Any], Any], message: str
) -> None:
    run = Run(copy_of(finished, tmp_path / "RUN"))
    splits = json.loads(run.split_file.read_text())
    run.split_file.write_text(json.dumps([change(splits[0])]))
    code, _, said = cli("evaluate", run.folder, "--stress")
    assert code == 1
    assert message in said
    assert not run.stress_file.exists()


def test_whatever_the_scores_follow_from_makes_them_stale(finished: Path, tmp_path: Path) -> None:
    assert is_evaluated(Run(finished))
    assert not is_evaluated(Run(finished), tolerance_mm=7.0)
    for name in ("fold-0/model.autoseg", "split.json", "cache/phantom_001.json", "scores.csv"):
        run = copy_of(finished, tmp_path / name.replace("/", "-"))
        times = (run / name).stat()
        (run / name).write_bytes((run / name).read_bytes() + b"\n")
        os.utime(run / name, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert not is_evaluated(Run(run)), name


def test_a_label_map_put_back_with_its_old_time_is_seen(cohort: Path, finished: Path, tmp_path: Path) -> None:
    data = tmp_path / "phantoms"
    shutil.copytree(cohort, data)
    label = next(iter(sorted((data / "labelsTr").glob("*.nii.gz"))))
    case = next(case for case in load_dataset(data).cases if case.label == label)
    plan, cache = Run(finished).plan(), Run(finished).cache
    assert is_cached(case, plan, cache)
    times, whole = label.stat(), label.read_bytes()
    label.write_bytes(whole[:-1] + b"x")
    os.utime(label, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not is_cached(case, plan, cache)
    label.write_bytes(whole)
    assert is_cached(case, plan, cache)


def test_an_evaluation_that_was_ended_goes_on_where_it_was(
    finished: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    scores = (run / "scores.csv").read_bytes()
    (run / "scores.csv").unlink()
    (run / "fold-0" / "predictions" / "phantom_002.nii.gz").unlink()
    done: list[str] = []

    def finish(evaluation: object, case: CachedCase, *rest: object) -> object:
        done.append(case.id)
        return _finish(evaluation, case, *rest)  # type: ignore[arg-type]

    _finish = evaluate._finish
    monkeypatch.setattr(evaluate, "_finish", finish)
    assert cli("evaluate", run)[0] == 0
    assert done == ["phantom_002"]
    assert (run / "scores.csv").read_bytes() == scores
    assert cli("evaluate", run, "--tolerance", "5")[0] == 0
    assert len(done) == 6  # the tolerance is a part of every score


def test_a_changed_label_is_preprocessed_again(finished: Path, cohort: Path, tmp_path: Path, cli: Cli) -> None:
    data = copy_of(cohort, tmp_path / "data")
    run = tmp_path / "RUN"
    assert cli("plan", data, run, *SMALL_PLAN)[0] == 0
    assert "5 cases preprocessed" in cli("preprocess", run, "-j", "1")[1]
    label = data / "labelsTr" / "phantom_000.nii.gz"
    image = sitk.ReadImage(str(label))
    image[0, 0, 0] = 1
    sitk.WriteImage(image, str(label))
    assert "1 case preprocessed" in cli("preprocess", run, "-j", "1")[1]


def test_training_goes_on_where_it_was_and_needs_no_dataset(finished: Path, tmp_path: Path, cli: Cli) -> None:
    run = copy_of(finished, tmp_path / "moved")
    (run / "dataset.json").write_text("{}")
    assert cli("train", run, "--iterations", "5")[0] == 0
    log = pd.read_csv(run / "fold-0" / "log.csv")
    assert list(log["iteration"]) == [1, 2, 3, 4, 5]


def test_a_stop_file_ends_the_training_once_with_what_was_learnt(finished: Path, tmp_path: Path, cli: Cli) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    (run / "stop").touch()
    code, out, _ = cli("train", run, "--iterations", "6", "--workers", "0")
    assert code == 0
    assert "6 iterations" not in out
    assert not (run / "stop").exists()
    assert cli("train", run, "--iterations", "6", "--workers", "0")[0] == 0
    assert len(pd.read_csv(run / "fold-0" / "log.csv")) == 6


def test_two_folds_are_trained_at_the_same_time_and_a_stop_file_ends_both(
    finished: Path, tmp_path: Path, cli: Cli
) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    (sides,) = json.loads((run / "split.json").read_text())
    swapped = {**sides, "training": sides["testing"], "testing": sides["training"]}
    (run / "split.json").write_text(json.dumps([sides, swapped]))
    command = [sys.executable, "-m", "autoseg", "train", str(run), "--fold", "0", "--iterations", "99999"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads of both that wait for each other would take minutes
    with subprocess.Popen([*command, "--workers", "0"], stderr=subprocess.PIPE, text=True, env=alone) as first:
        try:
            while len((run / "fold-0" / "log.csv").read_text().splitlines()) < 6:  # 4 are there, and the first line
                assert first.poll() is None
                time.sleep(0.1)
            assert cli("train", run, "--fold", "1", "--iterations", "3", "--workers", "0")[0] == 0
            assert_one_line(cli("train", run, "--fold", "0"), "`autoseg train --fold 0` writes to it")
            assert_one_line(cli("evaluate", run), "`autoseg train --fold 0` writes to it")
            with subprocess.Popen(
                [sys.executable, "-c", HOLDING, run], stdin=-1, stdout=-1
            ) as other:  # in an iteration
                assert other.stdout is not None
                assert other.stdout.readline() == b"held\n"
                (run / "stop").touch()
                assert first.wait(60) == 0
                assert (run / "stop").exists()
                other.communicate()
        finally:
            first.kill()
    assert cli("train", run, "--fold", "1", "--iterations", "9", "--workers", "0")[0] == 0
    assert len(pd.read_csv(run / "fold-1" / "log.csv")) < 9
    assert not (run / "stop").exists()


def test_two_processes_train_together(finished: Path, tmp_path: Path, cli: Cli) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    outcome = cli("train", run, "--iterations", "6", "--workers", "0", "--gpus", "2", "--device", "cpu")
    assert outcome[0] == 0, outcome
    log = pd.read_csv(run / "fold-0" / "log.csv")
    assert list(log["iteration"]) == [1, 2, 3, 4, 5, 6]
    assert log["loss"].notna().all()


@contextmanager
def training_team(run: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """Give a command that trains long in two processes, once it does, and all processes that it has started."""
    command = [sys.executable, "-m", "autoseg", "train", run, "--iterations", "100000", "--workers", "0"]
    log = run / "fold-0" / "log.csv"
    opened = log.stat().st_mtime_ns
    arguments = [*map(str, command), "--gpus", "2", "--device", "cpu"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as parent:
        try:
            while parent.poll() is None and log.stat().st_mtime_ns == opened:
                time.sleep(0.2)
            time.sleep(3)  # for some iterations
            yield parent, psutil.Process(parent.pid).children(recursive=True)
        finally:
            parent.kill()


def test_a_team_that_loses_a_process_says_so_in_a_line(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    with training_team(run) as (parent, team):
        next(process for process in team if process.environ().get("RANK") == "1").kill()
        _, err = parent.communicate(timeout=60)
    assert_one_line((parent.returncode, "", err), "process 1", "killed (SIGKILL)", "memory")
    assert not [process for process in team if process.is_running()]


def test_a_team_that_is_told_to_end_saves_and_leaves_no_process_behind(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    log = run / "fold-0" / "log.csv"
    with training_team(run) as (parent, team):
        parent.terminate()
        assert parent.wait(60) == 130
    assert len(team) >= 3  # torchrun and two processes
    assert not [process for process in team if process.is_running()]
    assert not (run / "stop").exists()
    done = int(read_facts(run / "fold-0" / "checkpoint.safetensors", CHECKPOINT)["iteration"])
    assert done == len(pd.read_csv(log)) > 4  # more than it had


def test_predict_takes_a_file_and_a_folder(finished: Path, cohort: Path, tmp_path: Path, cli: Cli) -> None:
    image = cohort / "imagesTr" / "phantom_001_0000.nii.gz"
    code, out, _ = cli("predict", finished, image, tmp_path / "mask.nrrd")
    trained = "phantom_001" in load_splits(finished / "split.json", None)[0].training
    assert code == 0
    assert (tmp_path / "mask_labels_slicer.ctbl").is_file()
    assert ("1 of 1 image named like cases that the model has learnt from (phantom_001)" in out) == trained
    assert cli("predict", finished / "fold-0" / "model.autoseg", cohort / "imagesTr", tmp_path / "out")[0] == 0
    one, same = read_label(tmp_path / "mask.nrrd"), read_label(tmp_path / "out" / "phantom_001.nii.gz")
    np.testing.assert_array_equal(one.array, same.array)
    again = read_label(finished / "fold-0" / "predictions" / "phantom_001.nii.gz")
    np.testing.assert_array_equal(one.array, again.array)


def test_an_image_that_cannot_be_predicted_leaves_no_file_behind(
    finished: Path, cohort: Path, tmp_path: Path, cli: Cli
) -> None:
    whole = (cohort / "imagesTr" / "phantom_001_0000.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    code, _, err = cli("predict", finished, tmp_path / "cut.nii.gz", tmp_path / "out" / "mask.nii.gz")
    assert code == 1
    assert "cut.nii.gz: the file is damaged or cut short" in err
    assert not list((tmp_path / "out").glob("*"))
    (tmp_path / "images").mkdir()
    (tmp_path / "cut.nii.gz").rename(tmp_path / "images" / "cut.nii.gz")
    assert cli("predict", finished, tmp_path / "images", tmp_path / "masks")[0] == 1
    assert not list((tmp_path / "masks").glob("labels_*"))
    (tmp_path / "images" / "whole.nii.gz").write_bytes(whole)
    assert cli("predict", finished, tmp_path / "images", tmp_path / "masks")[0] == 1
    assert len(list((tmp_path / "masks").glob("labels_*"))) == 2
    (tmp_path / "images" / "whole.nii.gz").unlink()
    assert cli("predict", finished, tmp_path / "images", tmp_path / "masks")[0] == 1
    assert len(list((tmp_path / "masks").glob("labels_*"))) == 2  # of the masks that are there


def test_score_of_the_truth_with_itself_is_perfect(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    labels = cohort / "labelsTr"
    assert cli("score", labels, labels, "--out", tmp_path / "s.csv", "-j", "1")[0] == 0
    scores = pd.read_csv(tmp_path / "s.csv")
    assert set(scores.loc[scores["metric"] == "dice", "value"]) == {1.0}
    assert set(scores.loc[scores["metric"] == "hd95_mm", "value"]) == {0.0}


def test_compare_says_when_scores_are_older_than_their_model(finished: Path, tmp_path: Path, cli: Cli) -> None:
    copy_of(finished, tmp_path / "run")
    copy_of(finished, tmp_path / "other")
    told = "the scores are older than fold-0/model.autoseg; run `autoseg evaluate"
    assert "autoseg evaluate" not in cli("compare", tmp_path / "run", tmp_path / "other")[1]
    (tmp_path / "other" / "fold-0" / "model.autoseg").write_bytes(b"another")
    code, out, _ = cli("compare", tmp_path / "run", tmp_path / "other")
    assert code == 0
    assert out.count(told) == 1
    assert f"{tmp_path / 'other'}: {told}" in out


def test_compare_says_which_run_has_cases_without_a_score(finished: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(finished, tmp_path / "other")
    file = tmp_path / "other" / "scores.csv"
    scores = pd.read_csv(file)
    left_out = scores.loc[scores["split"] == "training", "case"].iloc[0]
    scores[scores["case"] != left_out].to_csv(file, index=False)
    _, out, _ = cli("compare", tmp_path / "run", tmp_path / "other")
    assert f"{tmp_path / 'other'}: not scored: 1 case of trained folds; run `autoseg evaluate" in out


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version") == (0, f"autoseg {autoseg.__version__}\n", "")


def test_check_of_clean_data_is_silent_about_errors(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    code, out, _ = cli("check", cohort, "--json", tmp_path / "rows.json", "-j", "1")
    assert code == 0
    assert "0 cases with a fatal problem" in out
    assert all(row["severity"] != "fatal" for row in json.loads((tmp_path / "rows.json").read_text()))


def test_the_papers_preset_is_planned_by_name(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("plan", cohort, tmp_path / "RUN", "--preset", "roth2018", "--device", "cpu", "-j", "1")[0] == 0
    plan = json.loads((tmp_path / "RUN" / "plan.json").read_text())
    assert plan["downsampling"] == [4, 4, 4]
    assert plan["spacing_mm"] is None
    assert (plan["crop_size"], plan["batch_size"]) == ([64, 64, 64], 3)
    assert (plan["iterations"], plan["learning_rate"]) == (50000, 0.01)
    assert "19.07 million" in (tmp_path / "RUN" / "plan.md").read_text()


def planned(run: Path) -> tuple[dict[str, object], str]:
    return json.loads((run / "fingerprint.json").read_text()), (run / "plan.md").read_text()


def test_a_split_file_decides_who_is_looked_at(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    ids = [f"phantom_{n:03d}" for n in range(5)]
    folds = [{"training": [ids[0], ids[1]], "testing": [ids[4]]}, {"training": [ids[2]], "testing": [ids[4]]}]
    file, run = tmp_path / "split.json", tmp_path / "RUN"
    file.write_text(json.dumps(folds))
    options = ("plan", cohort, run, "--gpu-memory", "8", "--split", file, "-j", "1")
    assert cli(*options)[0] == 0
    fingerprint, text = planned(run)
    assert fingerprint["cases"] == 3  # neither the testing case of all folds nor the one that is in none
    assert "4 usable cases; the 3 that may be learnt from" in text
    assert cli(*options, "--exclude", ids[1])[0] == 0
    assert json.loads((run / "split.json").read_text())[0]["training"] == [ids[0]]
    options = PlanOptions(gpu_memory_gib=8, split=file, exclude=(ids[1],))
    assert is_planned(cohort, Run(run), options)
    file.write_text(json.dumps(folds[:1]))
    assert not is_planned(cohort, Run(run), options)


def test_a_grid_that_the_user_sets_is_the_one_that_is_explained(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "RUN"
    options = ("--gpu-memory", "8", "-j", "1", "--set", "spacing_mm=[6,6,6]")
    assert cli("plan", cohort, run, *options)[0] == 0
    _, text = planned(run)
    assert "**Working grid**: spacing 6 × 6 × 6 mm" in text
    assert "The user set it." in text
    assert "ceiling at 6 × 6 × 6 mm" in text
    assert "resolution of the median image" not in text


def test_an_exported_file_predicts_as_its_run_and_says_what_it_is(finished: Path, cli: Cli, tmp_path: Path) -> None:
    file, case = tmp_path / "model.autoseg", load_splits(finished / "split.json", None)[0].testing[0]
    assert cli("export", finished, file)[0] == 0
    code, out, _ = cli("show", file)
    assert code == 0
    assert "Segments artery" in out
    assert "Dice (%) of the testing cases" in out
    scan = dataset_of(Run(finished)).cases[0].images[0].with_name(f"{case}_0000.nii.gz")
    scan = scan if scan.is_file() else next(scan.parent.glob(f"{case}*"))
    assert cli("predict", file, scan, tmp_path / "m.nii.gz", "--device", "cpu", "--verbose")[0] == 0
    expected = read_label(finished / "fold-0" / "predictions" / f"{case}.nii.gz").array
    np.testing.assert_array_equal(read_label(tmp_path / "m.nii.gz").array, expected)


def test_a_tolerance_below_the_voxels_is_told_with_one_that_is_not(
    finished: Path,
) -> None:
    (told,) = [line for line in (finished / "log.txt").read_text().splitlines() if "NSD" in line]
    assert "WARNING NSD at 2 mm: in 5 of 5 cases every edge of a voxel is longer (2.36 mm and more)" in told
    assert told.endswith("--tolerance 4 or more says more")
