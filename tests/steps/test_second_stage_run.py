"""A RUN of two stages: what a user sees, from training to report, on top of a finished first stage."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import SMALL_PLAN, Cli, assert_one_line, copy_of

from autoseg.dataset.split import TESTING
from autoseg.dataset.split_file import load_splits
from autoseg.errors import PlanError
from autoseg.evaluation.freshness import is_evaluated, read_looks
from autoseg.evaluation.two_stages import two_stages
from autoseg.imaging.volumes import read_label
from autoseg.inference.model import Model
from autoseg.inference.opening import open_model
from autoseg.options import PlanOptions
from autoseg.plan import Plan, first_seen
from autoseg.planning import choose_stages
from autoseg.planning.recipe import PROBABILITY
from autoseg.run import Run
from autoseg.steps.earlier_plan import is_planned

ORGANS = ("liver", "artery")


def finer_than(plan: Plan) -> Plan:
    """Return the plan of a second stage that is quickly trained."""
    labels = tuple(label for label in plan.labels if label.name in ORGANS)
    changes = {
        "labels": labels,
        "channels": (*plan.channels, *(first_seen(label) for label in labels)),
        "intensity": (*plan.intensity, *[PROBABILITY] * len(labels)),
        "spacing_mm": (5.0, 5.0, 5.0),
        "loss": plan.loss.model_copy(update={"weights": None}),
        "iterations": 2,
        "margin_mm": 8.0,
    }
    return plan.model_copy(update=changes)


def _write(run: Run, plan: Plan, finer: Plan) -> None:
    run.plan_file.write_text(plan.model_copy(update={"finer": finer}).model_dump_json(), encoding="utf-8")


def refuses_before_it_trains(run: Run, plan: Plan, cli: Cli) -> None:
    too_large = finer_than(plan).model_copy(update={"batch_size": 4_000})
    _write(run, plan, too_large)
    assert_one_line(cli("train", run.folder), "a step of the second stage takes about", "--set finer.batch_size=")
    _write(run, plan, finer_than(plan))
    assert not is_evaluated(run)
    assert_one_line(cli("evaluate", run.folder), "the second stage is not trained yet", "autoseg train")
    assert_one_line(cli("train", run.folder, "--gpus", "2", "--device", "cpu"), "two stages train on one device")


def refuses_a_dataset_that_is_gone(run: Run, cohort: Path, tmp_path: Path, cli: Cli) -> None:
    place = run.dataset_file.read_text(encoding="utf-8")
    copied = copy_of(cohort, tmp_path / "copied")
    run.dataset_file.write_text(json.dumps({**json.loads(place), "dataset": str(copied)}), encoding="utf-8")
    image = next((copied / "imagesTr").glob(f"{load_splits(run.split_file, None)[0].training[0]}_*"))
    image.unlink()
    assert_one_line(cli("train", run.folder), f"a second stage learns from {image}, which is not there")
    shutil.rmtree(copied)
    assert_one_line(cli("train", run.folder), "there is no such dataset", f"{run.dataset_file} says where")
    run.dataset_file.write_text(place, encoding="utf-8")


def trains_and_goes_on(run: Run, cli: Cli) -> None:
    first = run.fold(0).model.read_bytes()
    code, _, err = cli("train", run.folder, "--workers", "0")
    assert code == 0, err
    second = run.stage(1).fold(0)
    assert run.fold(0).model.read_bytes() == first  # which was trained
    assert len(pd.read_csv(second.log)) == 2
    (split,) = load_splits(run.split_file, None)
    cases = {file.stem for file in second.cases.glob("phantom_*.json")}
    assert cases <= {*split.training, *split.validation}  # none that tests
    assert cases

    made = {file: file.stat().st_mtime_ns for file in second.cases.iterdir()}
    assert cli("train", run.folder, "--workers", "0", "--iterations", "4")[0] == 0
    assert list(pd.read_csv(second.log)["iteration"]) == [1, 2, 3, 4]  # gone on with
    assert {file: file.stat().st_mtime_ns for file in second.cases.iterdir()} == made


def scores_both_stages(run: Run, cli: Cli) -> None:
    second = run.stage(1).fold(0)
    (split,) = load_splits(run.split_file, None)
    assert cli("evaluate", run.folder)[0] == 0
    assert is_evaluated(run)
    scores = pd.read_csv(run.scores_file)
    assert {"first_stage_dice", "first_stage_ceiling"} <= set(scores["metric"])
    means = scores[scores["grid"] == "original"].groupby(["organ", "metric"])["value"].mean()
    for organ in ("liver", "artery"):
        assert means[organ, "ceiling_dice"] > means[organ, "first_stage_ceiling"]
    assert means["spleen", "ceiling_dice"] == means["spleen", "first_stage_ceiling"]
    second.model.write_bytes(second.model.read_bytes() + b"\n")
    assert not is_evaluated(run)
    second.model.write_bytes(second.model.read_bytes()[:-1])
    assert len(two_stages(scores, TESTING)) == len(run.plan().labels)
    looks = read_looks(run.fold(0).evaluated)
    assert set(looks) == set(split.cases())
    assert all(min(look.seconds) >= 0 and len(look.seconds) == 2 for look in looks.values())


def predicts_as_it_evaluates(run: Run, image: Path, out: Path, cli: Cli) -> Model:
    (split,) = load_splits(run.split_file, None)
    assert cli("predict", run.folder, image, out, "--device", "cpu")[0] == 0
    model = open_model(run.folder, "cpu")
    assert len(model.stages) == 2
    assert not model.trained_on & set(split.testing)
    np.testing.assert_array_equal(read_label(out).array, read_label(run.fold(0).prediction(split.testing[0])).array)
    link = out.with_name("best.autoseg")
    link.symlink_to(run.fold(0).model)
    for file in (run.fold(0).model, link):  # one fold, of both stages
        assert open_model(file, "cpu").later_digest == model.later_digest
    return model


def exports_what_predicts_alike(run: Run, model: Model, image: Path, out: Path, file: Path, cli: Cli) -> None:
    code, _, err = cli("export", run.folder, file)
    assert code == 0, err
    assert "A second stage of as many networks looks again at artery, liver" in cli("show", file)[1].replace("\n", " ")
    assert b"phantom_0" not in file.read_bytes()
    alone = file.with_name("alone.nii.gz")
    assert cli("predict", file, image, alone, "--device", "cpu")[0] == 0
    np.testing.assert_array_equal(read_label(alone).array, read_label(out).array)
    exported = open_model(file, "cpu")
    assert [stage.plan for stage in exported.stages] == [stage.plan for stage in model.stages]
    assert exported.postprocessing == model.postprocessing


def gives_probabilities_that_fit_the_mask(plan: Plan, file: Path, image: Path, cli: Cli) -> None:
    likely = file.parent / "likely.nii.gz"
    options = ("--probabilities", "--no-clean-up", "--verbose", "--device", "cpu")
    code, shown, err = cli("predict", file, image, likely, *options)
    assert code == 0, err
    assert "second stage" in shown
    mask = read_label(likely).array
    files = [file.parent / "likely" / f"{organ.name}_percent.nii.gz" for organ in plan.labels]
    percent = np.stack([read_label(one).array for one in files])
    background = 100 - percent.sum(axis=0)
    for organ, of_organ in zip(plan.labels, percent, strict=True):
        where = mask == organ.value
        assert (of_organ[where] >= percent.max(axis=0)[where] - 1).all()  # half precision and whole percent
    assert (background[mask == 0] >= percent.max(axis=0)[mask == 0] - 4).all()


def test_a_run_of_two_stages_trains_resumes_scores_and_predicts(
    finished: Path, cohort: Path, tmp_path: Path, cli: Cli
) -> None:
    run = Run(copy_of(finished, tmp_path / "RUN"))
    plan = run.plan()
    refuses_before_it_trains(run, plan, cli)
    refuses_a_dataset_that_is_gone(run, cohort, tmp_path, cli)
    trains_and_goes_on(run, cli)
    scores_both_stages(run, cli)
    (split,) = load_splits(run.split_file, None)
    image = cohort / "imagesTr" / f"{split.testing[0]}_0000.nii.gz"
    out, file = tmp_path / "out.nii.gz", tmp_path / "m.autoseg"
    model = predicts_as_it_evaluates(run, image, out, cli)
    exports_what_predicts_alike(run, model, image, out, file, cli)
    gives_probabilities_that_fit_the_mask(plan, file, image, cli)

    pytest.importorskip("onnxruntime")
    code, shown, err = cli("export", run.folder, tmp_path / "m.onnx")
    assert code == 0, err
    assert "m_second.onnx" in shown


def test_the_stages_of_a_trained_run_are_kept_where_the_user_does_not_say_how_many(
    finished: Path, cohort: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose_stages, "second_gain", lambda *_: "much is gained")
    run = Run(copy_of(finished, tmp_path / "RUN"))
    code, shown, err = cli("plan", cohort, tmp_path / "NEW", *SMALL_PLAN)
    assert code == 0, err
    assert "with a second stage, much is gained; plan with --stages 2" in shown
    assert "much is gained" in (tmp_path / "NEW" / "plan.md").read_text()
    assert "much is gained" not in cli("plan", cohort, run.folder, *SMALL_PLAN, "--force")[1]
    options = PlanOptions(device="cpu", settings=dict(part.split("=", 1) for part in SMALL_PLAN if "=" in part))
    planned = [is_planned(cohort, run, replace(options, stages=stages)) for stages in (None, 1, 2)]
    assert planned == [True, True, False]
    _write(run, run.plan(), finer_than(run.plan()))
    assert_one_line(
        cli("plan", cohort, tmp_path / "ONE", "--preset", run.plan_file, "--stages", "1", "-j", "1"),
        "--stages 1: the preset", "has two; leave --stages out",
    )  # fmt: skip

    def refuse(*_: object) -> None:
        raise PlanError("--stages 2: nothing is gained")

    monkeypatch.setattr(choose_stages, "second_plan", refuse)
    told = cli("plan", cohort, run.folder, *SMALL_PLAN, "--force")
    assert_one_line(told, "RUN: its stages are kept, as it is trained: --stages 2: nothing is gained")


@pytest.mark.parametrize("more", [("--preset", "roth2018"), ("--gpus", "2")])
def test_what_two_stages_cannot_have_is_refused_before_any_case_is_read(
    tmp_path: Path, cli: Cli, more: tuple[str, str]
) -> None:
    assert_one_line(cli("plan", tmp_path, tmp_path / "RUN", "--stages", "2", *more), "--stages 2: ", "leave ")
