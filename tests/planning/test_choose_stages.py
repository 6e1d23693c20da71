"""Tests of autoseg.planning.choose_stages: one stage or two, by what the user asks and what grids cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from twelve_cases import BUDGET, DATASET, FACTS

from autoseg.dataset.fingerprint import fingerprint
from autoseg.errors import PlanError
from autoseg.options import PlanOptions
from autoseg.planning import choose_stages
from autoseg.planning.budget import Budget, StepCost
from autoseg.planning.choose_stages import FittedStages, StagesChoice
from autoseg.planning.explain_second import second_section
from autoseg.planning.planner import Planner
from autoseg.planning.recipe import GPU_ITERATIONS
from autoseg.planning.stages import options_of_stages

SMALL = replace(BUDGET, cpu_step_voxels=15_000)  # too few for a grid that is fine everywhere
THIN = {1.0: 0.98, 1.25: 0.97, 1.5: 0.95, 2.0: 0.8, 2.5: 0.75, 3.0: 0.7}  # what grids of so many mm leave of an artery
WIDE = dict.fromkeys(THIN, 0.98)


def chosen(
    options: PlanOptions,
    of_artery: Mapping[float, float],
    seconds: float | None = None,
    budget: Budget = SMALL,
    of_duct: Mapping[float, float] | None = None,
) -> FittedStages:
    """Choose for twelve cases; a step takes so many seconds, or is not measured."""
    data = fingerprint(DATASET, FACTS)
    planner = Planner(fingerprint=data, seed=3, dataset=DATASET, crew=1, track=lambda items, *_: iter(items))
    for mm, dice in of_artery.items():
        planner.ceilings[mm, mm, mm] = (0.99, dice, (of_duct or WIDE)[mm])
    cost = None if seconds is None else StepCost(gib=0.1, seconds_per_iteration=seconds, waiting_share=0.0)
    return StagesChoice(
        planner=planner,
        facts=FACTS,
        budget=budget,
        options=options,
        measure=lambda *_: cost,
        derive=lambda: planner.derive(budget),
    ).fitted()


def test_two_stages_are_chosen_where_the_grid_of_one_costs_a_tenth_and_a_second_would_not() -> None:
    stages = chosen(PlanOptions(), THIN, 0.1)
    first, second = stages.decision.plan.stages
    assert [organ.name for organ in second.labels] == ["artery"]
    assert max(second.spacing_mm or ()) < 2.0 < max(first.spacing_mm or ())
    assert not stages.decision.advice
    assert stages.second is not None
    mm = stages.second.grid.spacing_mm[0]
    told = f"in a box at {mm:g} × {mm:g} × {mm:g} mm, ceilings rise (Dice, %): artery 80.0 → {100 * THIN[mm]:.1f}"
    assert stages.decision.two_for == told
    assert list(stages.ceilings) == [(1.5, 1.5, 1.5), (2.0, 2.0, 2.0), (2.5, 2.5, 2.5)]  # not what the second tried
    assert stages.decision.chosen is not None
    text = "\n".join(second_section(stages.second, stages.decision.chosen, stages.decision.two_for))
    assert f"the grid of one would cost organs more than a tenth, but {told}" in text
    assert "each for half of the time" in text
    asked = chosen(PlanOptions(stages=2), THIN, 0.1)
    assert asked.decision.plan == stages.decision.plan
    assert not asked.decision.two_for


@pytest.mark.parametrize(
    ("options", "of_artery", "processes"),
    [(PlanOptions(stages=1), THIN, 1), (PlanOptions(), WIDE, 1), (PlanOptions(gpus=2), THIN, 2)],
)
def test_one_stage_stays_where_it_is_asked_for_or_costs_nothing(
    options: PlanOptions, of_artery: Mapping[float, float], processes: int
) -> None:
    decision = chosen(options, of_artery, 0.1, replace(SMALL, processes=processes)).decision
    assert len(decision.plan.stages) == 1
    assert not decision.advice
    assert not decision.two_for


@pytest.mark.parametrize(
    "options",
    [
        PlanOptions(settings={"iterations": "9"}),
        PlanOptions(settings={"batch_size": "2"}),
        PlanOptions(settings={"learning_rate": "0.001"}),  # of which stage?
        PlanOptions(iterations=9),
    ],
)
def test_who_sets_steps_or_iterations_is_only_told_what_a_second_stage_gains(options: PlanOptions) -> None:
    decision = chosen(options, THIN, 0.1).decision
    assert len(decision.plan.stages) == 1
    (advice,) = decision.advice
    assert "artery" in advice
    assert "plan with --stages 2" in advice
    is_given = "iterations" in options.settings or options.iterations is not None
    assert ("for so many iterations" if is_given else "for half of the time") in advice


def test_a_second_stage_that_fails_once_it_is_measured_is_told_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PlanError("no time")

    monkeypatch.setattr(choose_stages, "second_plan", fail)
    decision = chosen(PlanOptions(), THIN, 0.1).decision
    assert len(decision.plan.stages) == 1
    (advice,) = decision.advice
    assert advice.endswith("it was tried: no time")
    with pytest.raises(PlanError, match="no time"):
        chosen(PlanOptions(stages=2), THIN, 0.1)


def test_a_second_stage_whose_measured_step_leaves_no_grid_that_is_worth_it_is_told_and_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choose_stages, "gain_between", lambda *_: "")
    decision = chosen(PlanOptions(), THIN, 0.1).decision
    assert len(decision.plan.stages) == 1
    assert decision.advice[0].endswith("it was tried: its step leaves no such grid")


def test_two_stages_that_would_have_few_iterations_each_are_left() -> None:
    decision = chosen(PlanOptions(time_budget_s=60.0), THIN, 0.1).decision
    assert len(decision.plan.stages) == 1
    assert "each of its stages would have fewer than 400 iterations" in decision.advice[0]
    assert len(chosen(PlanOptions(time_budget_s=90.0), THIN, 0.1).decision.plan.stages) == 2


def test_two_stages_are_left_where_the_coarser_first_grid_would_cost_another_organ_a_tenth() -> None:
    decision = chosen(PlanOptions(), THIN, 0.1, of_duct=dict.fromkeys(THIN, 0.9) | {2.5: 0.895, 3.0: 0.895}).decision
    assert len(decision.plan.stages) == 1
    assert decision.advice[0].endswith("the grids of both would cost more than a tenth of duct")


def test_too_little_time_is_told_once_of_each_stage_that_is_planned(caplog: pytest.LogCaptureFixture) -> None:
    chosen(PlanOptions(time_budget_s=3.0), WIDE, 0.1)
    assert [record.getMessage()[:23] for record in caplog.records] == ["only 27 iterations fit "]


def test_without_a_time_each_of_two_stages_on_a_gpu_has_half_of_the_iterations() -> None:
    first, second = options_of_stages(PlanOptions(stages=2), is_on_cpu=False)
    assert (first.iterations, second.iterations) == (GPU_ITERATIONS // 2, GPU_ITERATIONS // 2)
    first, second = options_of_stages(PlanOptions(stages=2, settings={"iterations": "7"}), is_on_cpu=False)
    assert (first.iterations, second.settings) == (None, {"iterations": "7"})
