"""Tests of the time budget: how many iterations it gives, and what it decides of a plan. Clocks are made up."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import made
import pytest
from command_line import STEP, Cli, assert_one_line, copy_of

from autoseg.errors import PlanError
from autoseg.options import EvaluateOptions, PlanOptions, TrainOptions
from autoseg.planning.budget import StepCost
from autoseg.run import FoldFolder, Run
from autoseg.steps import plan, train
from autoseg.steps import run as run_step
from autoseg.steps.earlier_plan import is_planned
from autoseg.steps.run import due_steps
from autoseg.training.checkpoint import planned_iterations


class Clock:
    """A clock that measuring moves on."""

    def __init__(self, measuring_s: float, seconds_per_iteration: float) -> None:
        self.now, self.measuring_s, self.seconds_per_iteration = 0.0, measuring_s, seconds_per_iteration

    def monotonic(self) -> float:
        return self.now

    def measure(self, *_: object) -> StepCost:
        self.now += self.measuring_s
        return StepCost(seconds_per_iteration=self.seconds_per_iteration, waiting_share=0.0, gib=0.5)


def test_nine_tenths_of_what_measuring_leaves_go_into_iterations(
    cli: Cli, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    shutil.rmtree(run / "fold-0")
    clock = Clock(measuring_s=30.0, seconds_per_iteration=15.0)
    monkeypatch.setattr(train, "measure_step", clock.measure)
    monkeypatch.setattr(train, "time", clock)
    code, _, err = cli("train", run, "--time-budget", "130s")
    assert code == 0
    assert planned_iterations(FoldFolder(run / "fold-0")) == 6  # 0.9 · (130 - 30) / 15
    assert "only 6 iterations fit the time" in err


def test_a_plan_gets_the_iterations_of_its_time_budget(
    cli: Cli, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "measure_step", Clock(0.0, 0.25).measure)
    assert cli("plan", cohort, tmp_path / "RUN", "--device", "cpu", "-j", "1", "--time-budget", "10m")[0] == 0
    assert json.loads((tmp_path / "RUN" / "plan.json").read_text())["iterations"] == 2160  # 0.9 · 600 / 0.25
    assert "those whose steps fit 9 min at the measured 0.25 s each" in (tmp_path / "RUN" / "plan.md").read_text()


def test_plan_md_says_that_a_step_was_made_smaller_for_the_time(
    cli: Cli, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "measure_step", Clock(0.0, 20.0).measure)
    assert cli("plan", cohort, tmp_path / "RUN", "--device", "cpu", "-j", "1", "--time-budget", "10m")[0] == 0
    text = (tmp_path / "RUN" / "plan.md").read_text()
    assert "voxels at most, in place of 790,000" in text
    assert "fewer than 400 iterations would have fitted 9 min" in text
    assert "downsampling of 1 × 1 × 1" not in text


def test_a_time_budget_for_another_machine_is_refused(cli: Cli, cohort: Path, tmp_path: Path) -> None:
    outcome = cli("plan", cohort, tmp_path / "RUN", "--gpu-memory", "8", "--time-budget", "1h")
    assert_one_line(outcome, "--time-budget: only the machine that trains can be measured")


def test_a_time_and_a_number_of_iterations_exclude_each_other(cli: Cli, cohort: Path, tmp_path: Path) -> None:
    outcome = cli("plan", cohort, tmp_path / "RUN", "--time-budget", "2m", "--set", "iterations=50")
    assert_one_line(outcome, "--time-budget and --set iterations exclude each other", "give one")


def test_a_preset_too_slow_for_the_time_gets_what_fits_and_a_warning(
    cli: Cli, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "measure_step", Clock(0.0, 42.9).measure)
    options = ("--preset", "roth2018", "--device", "cpu", "-j", "1", "--time-budget", "2m")
    code, _, err = cli("plan", cohort, tmp_path / "RUN", *options)
    assert code == 0
    assert json.loads((tmp_path / "RUN" / "plan.json").read_text())["iterations"] == 2
    assert "only 2 iterations fit the time, at the measured 43 s each" in err


def test_planning_anew_tells_which_training_cannot_go_on(
    cli: Cli,
    cohort: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = copy_of(finished, tmp_path / "RUN")
    monkeypatch.setattr(plan, "measure_step", Clock(0.0, 0.25).measure)
    code, _, err = cli("plan", cohort, run, "--device", "cpu", "-j", "1")
    assert code == 0
    assert f"{run / 'fold-0'}: was trained under another plan, so its training cannot go on; remove it" in err


def test_a_trained_run_keeps_its_learning_rate_at_another_length_unless_another_is_given(
    cli: Cli, cohort: Path, finished: Path, tmp_path: Path
) -> None:
    run, longer = copy_of(finished, tmp_path / "RUN"), (*STEP, "--set", "iterations=6000", "-j", "1")
    assert (Run(run).plan().learning_rate, Run(run).plan().optimiser.name) == (4e-3, "muon")
    code, _, err = cli("plan", cohort, run, *longer)
    assert code == 0, err
    assert "cannot go on" not in err
    after = Run(run).plan()
    assert (after.iterations, after.learning_rate, after.optimiser.name) == (6000, 4e-3, "muon")
    _, _, err = cli("plan", cohort, run, *longer, "--set", "learning_rate=0.001")
    assert "so its training cannot go on" in err
    assert Run(run).plan().learning_rate == 1e-3
    assert cli("plan", cohort, tmp_path / "NEW", *longer)[0] == 0
    assert (Run(tmp_path / "NEW").plan().learning_rate, Run(tmp_path / "NEW").plan().optimiser.name) == (2e-3, "adamw")


def test_a_run_that_is_planned_stays_so_when_it_is_given_another_time(finished: Path, cohort: Path) -> None:
    options = PlanOptions(**json.loads((finished / "dataset.json").read_text())["options"])
    assert is_planned(cohort, Run(finished), replace(options, time_budget_s=1000.0))


def test_a_run_that_is_planned_stays_so_when_it_is_given_another_length(finished: Path, cohort: Path) -> None:
    options = PlanOptions(**json.loads((finished / "dataset.json").read_text())["options"])
    assert is_planned(cohort, Run(finished), replace(options, iterations=9, gpus=2))
    assert json.loads((finished / "plan.json").read_text())["iterations"] == 4  # as `run --iterations 4` told


@pytest.mark.parametrize(
    ("gpu_memory", "is_planned", "planner", "trainer"),
    [(None, False, [2700.0], None), (8.0, False, [None], 2700.0), (None, True, [], 2700.0)],
)
def test_run_measures_once_in_planning_where_the_plan_is_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    gpu_memory: float | None,
    is_planned: bool,
    planner: list[float | None],
    trainer: float | None,
) -> None:
    monkeypatch.setattr(run_step, "is_planned", lambda *_: is_planned)
    monkeypatch.setattr(run_step, "is_evaluated", lambda *_: True)
    planning, training = PlanOptions(gpu_memory_gib=gpu_memory), TrainOptions(time_budget_s=2700.0)
    steps = list(due_steps(tmp_path, Run(tmp_path), planning, training, EvaluateOptions()))
    assert [step.time_budget_s for step in steps if isinstance(step, PlanOptions)] == planner
    assert [step.time_budget_s for step in steps if isinstance(step, TrainOptions)] == [trainer]


@pytest.mark.parametrize(("workers", "trainer"), [(0, 2700.0), (None, None)])
def test_run_measures_again_with_as_many_workers_as_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: int | None, trainer: float | None
) -> None:
    monkeypatch.setattr(run_step, "is_planned", lambda *_: False)
    monkeypatch.setattr(run_step, "is_evaluated", lambda *_: True)
    training = TrainOptions(time_budget_s=2700.0, workers=workers)
    steps = list(due_steps(tmp_path, Run(tmp_path), PlanOptions(), training, EvaluateOptions()))
    assert [step.time_budget_s for step in steps if isinstance(step, TrainOptions)] == [trainer]


@pytest.mark.parametrize(("device", "trainer"), [("cuda", 2700.0), ("cpu", None)])
def test_run_measures_again_what_is_to_repeat_exactly_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, trainer: float | None
) -> None:
    monkeypatch.setattr(run_step, "is_planned", lambda *_: False)
    monkeypatch.setattr(run_step, "is_evaluated", lambda *_: True)
    Run(tmp_path).plan_file.write_text(made.plan(device=device).model_dump_json())
    training = TrainOptions(time_budget_s=2700.0, deterministic=True)
    steps = list(due_steps(tmp_path, Run(tmp_path), PlanOptions(), training, EvaluateOptions()))
    assert [step.time_budget_s for step in steps if isinstance(step, TrainOptions)] == [trainer]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            PlanOptions(preset="mine.json", time_budget_s=600.0),
            "--time-budget: the preset mine.json says how long",
        ),
        (PlanOptions(preset="mine.json", stages=1), "--stages 1: the preset mine.json has two"),
    ],
)
def test_what_a_preset_of_two_stages_cannot_heed_is_refused(options: PlanOptions, message: str) -> None:
    with pytest.raises(PlanError, match=re.escape(message)):
        plan._require_two_stages(options)
    plan._require_two_stages(PlanOptions(preset="mine.json", iterations=300))
