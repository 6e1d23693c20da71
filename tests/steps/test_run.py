"""Tests of autoseg.steps.run and demo: which steps are due, and with what options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Cli
from made import plan
from two_stages import FIRST, second

from autoseg.cli import all_steps
from autoseg.options import EvaluateOptions, PlanOptions, PreprocessOptions, ReportOptions, TrainOptions
from autoseg.run import Run
from autoseg.steps import run as run_step
from autoseg.steps.demo import demo_planning, demo_training
from autoseg.steps.plan import plan as plan_step
from autoseg.steps.run import StepOptions, due_steps, repeated_steps


def due(
    monkeypatch: pytest.MonkeyPatch, planning: PlanOptions, training: TrainOptions, *, planned: bool, evaluated: bool
) -> list[StepOptions]:
    monkeypatch.setattr(run_step, "is_planned", lambda *_: planned)
    monkeypatch.setattr(run_step, "is_evaluated", lambda *_: evaluated)
    return list(due_steps(Path("data"), Run(Path("RUN")), planning, training, EvaluateOptions(device="cpu")))


def test_all_steps_are_due_in_order_in_a_new_run(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = due(monkeypatch, PlanOptions(jobs=3), TrainOptions(), planned=False, evaluated=False)
    assert [type(step) for step in steps] == [
        PlanOptions,
        PreprocessOptions,
        TrainOptions,
        EvaluateOptions,
        ReportOptions,
    ]
    assert [step.jobs for step in steps if not isinstance(step, TrainOptions | EvaluateOptions)] == [3, 3, 3]


def test_what_is_planned_and_evaluated_is_not_due_but_for_force(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = [PreprocessOptions, TrainOptions, ReportOptions]
    steps = due(monkeypatch, PlanOptions(), TrainOptions(), planned=True, evaluated=True)
    assert [type(step) for step in steps] == rest
    forced = due(monkeypatch, PlanOptions(force=True), TrainOptions(), planned=True, evaluated=True)
    assert [type(step) for step in forced] == [PlanOptions, *rest]


def test_the_plan_knows_the_length_and_the_gpus_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, *_ = due(monkeypatch, PlanOptions(), TrainOptions(iterations=7, gpus=2), planned=False, evaluated=False)
    assert plan == PlanOptions(iterations=7, gpus=2)


@pytest.mark.parametrize(("device", "trained_on"), [("auto", None), ("cpu", "cpu")])
def test_training_takes_the_plans_device_unless_the_user_names_one(
    monkeypatch: pytest.MonkeyPatch, device: str, trained_on: str | None
) -> None:
    steps = due(monkeypatch, PlanOptions(device=device), TrainOptions(device=device), planned=True, evaluated=True)
    assert [step.device for step in steps if isinstance(step, TrainOptions)] == [trained_on]


def test_a_demo_has_its_own_time_where_the_user_gives_no_length() -> None:
    assert demo_training(TrainOptions(workers=0)) == TrainOptions(workers=0, time_budget_s=245.0)
    for given in (TrainOptions(iterations=5), TrainOptions(time_budget_s=60.0)):
        assert demo_training(given) == given
    assert [demo_planning(PlanOptions(stages=stages)).stages for stages in (None, 1, 2)] == [1, 1, 2]
    assert demo_planning(PlanOptions(preset="plan.json")).stages is None


def test_a_run_that_is_repeated_takes_each_step_with_its_plan_its_split_and_other_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    run = Run(tmp_path / "RUN")
    run.folder.mkdir()
    run.plan_file.write_text(plan(seed=7).model_dump_json(), encoding="utf-8")
    taken: list[tuple[Path, StepOptions]] = []
    monkeypatch.setattr(run_step, "is_planned", lambda *_: False)
    monkeypatch.setattr(run_step, "is_evaluated", lambda *_: False)
    monkeypatch.setattr(all_steps, "_step", lambda _, of, options: taken.append((of.folder, options)))
    assert cli("run", tmp_path / "data", run.folder, "--repeat", "3", "--exclude", "bad", "-j", "2")[0] == 0
    places = [folder.relative_to(run.folder).as_posix() for folder, _ in taken]
    assert places == [*["."] * 4, *["repeat-1"] * 4, *["repeat-2"] * 4, "."]  # the report comes last, and once
    assert isinstance(taken[-1][1], ReportOptions)
    plans = [options for _, options in taken if isinstance(options, PlanOptions)]
    assert [options.seed for options in plans[1:]] == [8, 9]
    assert {(options.preset, options.split, options.jobs) for options in plans[1:]} == {
        (str(run.plan_file), run.split_file, 2)
    }


def test_a_repetition_keeps_the_intensities_and_weights_that_the_user_has_set(cohort: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "RUN")
    window = {"kind": "ct", "low": -100.0, "high": 240.0, "mean": 80.0, "std": 50.0}
    settings = {"intensity": json.dumps([window]), "loss.weights": "[1,2,3,4,5,6,7,8]"}
    first = plan_step(cohort, run, PlanOptions(device="cpu", settings=settings, iterations=5)).plan
    steps = repeated_steps(cohort, run, PlanOptions(), TrainOptions(iterations=5), EvaluateOptions(device="cpu"), 2)
    again, options = next(steps)
    assert isinstance(options, PlanOptions)
    assert plan_step(cohort, again, options).plan == first.model_copy(update={"seed": 1})


def test_a_repetition_trains_each_stage_as_long_as_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path / "RUN")
    for number, iterations in ((0, 9), (1, 4)):
        files = run.stage(number).fold(0)
        files.folder.mkdir(parents=True)
        files.model.touch()
        files.log.write_text(f"iteration,loss\n{iterations},1\n")
    run.plan_file.write_text(FIRST.model_copy(update={"finer": second()}).model_dump_json(), encoding="utf-8")
    monkeypatch.setattr(run_step, "is_planned", lambda *_: True)
    monkeypatch.setattr(run_step, "is_evaluated", lambda *_: True)
    training = TrainOptions(time_budget_s=60.0)
    steps = repeated_steps(Path("data"), run, PlanOptions(), training, EvaluateOptions(device="cpu"), 2)
    (options,) = [step for _, step in steps if isinstance(step, TrainOptions)]
    assert (options.iterations, options.later_iterations, options.time_budget_s) == (9, 4, None)
