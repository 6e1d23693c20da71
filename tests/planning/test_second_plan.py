"""Tests of autoseg.planning.second_plan: which organs, which grid, and when not."""

from __future__ import annotations

from dataclasses import replace

import made
import pytest
from twelve_cases import BUDGET, DATASET, FACTS, facts_of_twelve

from autoseg.dataset.fingerprint import Fingerprint, fingerprint
from autoseg.errors import PlanError
from autoseg.imaging.grid import Triple
from autoseg.options import PlanOptions
from autoseg.plan import parse_plan
from autoseg.planning import rules
from autoseg.planning.explain_organs import organs_section
from autoseg.planning.explain_second import second_section
from autoseg.planning.fit import apply_settings, fit_plan
from autoseg.planning.planner import Decision, Planner, derive_plan
from autoseg.planning.recipe import CPU_TRAINING_S
from autoseg.planning.rules import CPU_STEP_VOXELS, FIRST_STAGE, ONE_STAGE
from autoseg.planning.second_plan import SecondPlan, second_gain, second_plan
from autoseg.planning.stages import budgets_of_stages, options_of_stages

COARSE: Triple = (5.0, 5.0, 5.0)


def planned(
    coarse: tuple[float, ...],
    finer: tuple[float, ...],
    settings: dict[str, str] | None = None,
    first_settings: dict[str, str] | None = None,
) -> tuple[SecondPlan, object]:
    """Plan a second stage where grids of 5 mm and of less leave organs so much of their Dice."""
    first, planner, _ = first_of(coarse, finer, first_settings)
    options = PlanOptions(stages=2, settings={"iterations": "7"} | (settings or {}))
    return second_plan(first, planner, FACTS, BUDGET, options_of_stages(options, True)[1], None), first


def first_of(
    coarse: tuple[float, ...], finer: tuple[float, ...], settings: dict[str, str] | None = None
) -> tuple[Decision, Planner, Fingerprint]:
    """Return a plan at 5 mm of one stage, and its planner."""
    data = fingerprint(DATASET, FACTS)
    planner = Planner(fingerprint=data, seed=3, dataset=DATASET, crew=1, track=lambda items, *_: iter(items))
    planner.ceilings[COARSE] = coarse
    for mm in (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0):
        planner.ceilings[mm, mm, mm] = finer
    settings = settings or {"spacing_mm": "[5,5,5]", "crop_size": "[8,16,16]"}
    first = apply_settings(derive_plan(planner.fingerprint, BUDGET, 3, None), data, BUDGET, settings)
    return first, planner, data


def test_organs_that_the_grid_costs_much_are_looked_at_again_finely_in_a_box_around_them() -> None:
    second, first = planned((0.97, 0.8, 0.7), (0.99, 0.98, 0.95))
    plan = second.plan
    assert [label.name for label in plan.labels] == ["artery", "duct"]
    assert plan.channels == ("CT", "artery by the first stage", "duct by the first stage")
    assert [how.kind for how in plan.intensity] == ["ct", "probability", "probability"]
    assert plan.margin_mm == 15.0  # 3 voxels of 5 mm
    assert second.box == (20 + 2 * 15, 8 + 15 + 12, 20 + 2 * 15)  # the lower end of y is that of the image
    assert plan.spacing_mm is not None
    assert max(plan.spacing_mm) < 5.0
    assert plan.iterations == 7
    text = "\n".join(second_section(second, first.chosen))  # type: ignore[attr-defined]
    assert "| artery | 80.0 | 98.0 | 18.0 |" in text
    assert "| duct | 70.0 | 95.0 | 25.0 |" in text
    whole = first.plan.model_copy(update={"finer": plan})  # type: ignore[attr-defined]
    assert parse_plan(whole.model_dump_json(), "plan").stages == (first.plan, plan)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("at_1_25_mm", "at_1_5_mm", "spacing_mm"), [(0.98, 0.97, 1.5), (0.98, 0.96, 1.25), (0.96, 0.95, 1.0)]
)
def test_the_grid_is_the_coarsest_that_leaves_the_organs_enough(
    at_1_25_mm: float, at_1_5_mm: float, spacing_mm: float
) -> None:
    first, planner, _ = first_of((0.97, 0.8, 0.99), (0.99, 0.9, 0.99))
    for mm, dice in ((1.0, 0.99), (1.25, at_1_25_mm), (1.5, at_1_5_mm)):
        planner.ceilings[mm, mm, mm] = (0.98, dice, 0.99)
    second = second_plan(first, planner, FACTS, BUDGET, PlanOptions(stages=2, settings={"iterations": "7"}), None)
    assert second.plan.spacing_mm == pytest.approx((spacing_mm,) * 3)


def test_what_a_second_stage_looks_at_again_is_no_loss_to_warn_of() -> None:
    first, planner, data = first_of((0.97, 0.8, 0.7), (0.99, 0.98, 0.705))  # a finer grid helps the artery alone
    options = PlanOptions(stages=2, settings={"iterations": "7"})
    second = second_plan(first, planner, FACTS, BUDGET, options, None)
    together = replace(first, plan=first.plan.model_copy(update={"finer": second.plan}))
    alone, joint = (
        "\n".join(organs_section(decision, data, planner.ceilings, on_gpu=False)) for decision in (first, together)
    )
    assert "more than a tenth of artery 80.0, duct 70.0." in alone
    assert "more than a tenth of duct 70.0." in joint


def test_a_grid_that_leaves_an_organ_enough_also_lets_it_gain() -> None:
    first, planner, _ = first_of((0.99, 0.965, 0.99), (0.99, 0.972, 0.99))
    planner.ceilings[1.0, 1.0, 1.0] = (0.995, 0.995, 0.995)
    planner.ceilings[1.25, 1.25, 1.25] = (0.99, 0.976, 0.99)
    second = second_plan(first, planner, FACTS, BUDGET, PlanOptions(stages=2, settings={"iterations": "7"}), None)
    assert second.plan.spacing_mm == pytest.approx((1.25,) * 3)  # 0.972 would be enough, but is no point more


def test_a_grid_of_the_user_on_which_nothing_gains_is_refused() -> None:
    first, planner, _ = first_of((0.97, 0.8, 0.99), (0.99, 0.98, 0.99))
    planner.ceilings[6.0, 6.0, 6.0] = (0.9, 0.7, 0.9)
    settings = {"iterations": "7", "spacing_mm": "[6,6,6]", "crop_size": "[8,8,8]"}
    with pytest.raises(PlanError, match="no organ's ceiling rises on a grid of 6 × 6 × 6 mm"):
        second_plan(first, planner, FACTS, BUDGET, PlanOptions(stages=2, settings=settings), None)


def test_a_second_stage_without_a_grid_of_its_own_is_refused() -> None:
    with pytest.raises(PlanError, match=r"^--set finer.spacing_mm=null: a second stage has one grid"):
        planned((0.97, 0.8, 0.99), (0.99, 0.98, 0.99), {"finer.spacing_mm": "null"})


def test_where_memory_is_short_the_grid_is_the_finest_on_which_a_crop_sees_a_fifth_of_the_box() -> None:
    first, planner, _ = first_of((0.97, 0.8, 0.99), (0.99, 0.96, 0.99))
    options = PlanOptions(stages=2, settings={"iterations": "7"})
    # a fifth of the box is 12 x 16 x 16 mm, at 1 mm 3072 voxels; a third of 6000 is less
    for voxels, spacing_mm in ((40_000, 1.0), (6_000, 1.25)):
        budget = replace(BUDGET, cpu_step_voxels=voxels)
        second = second_plan(first, planner, facts_of_twelve(is_wide=True), budget, options, None)
        assert second.plan.spacing_mm == pytest.approx((spacing_mm,) * 3)
        box, crop = second.fitted.decision.chosen.shape, second.plan.crop_size  # type: ignore[union-attr]
        assert all(n >= 0.2 * whole for n, whole in zip(crop, box, strict=True))


def test_the_ceilings_are_those_of_the_grid_that_the_user_sets() -> None:
    first, planner, _ = first_of((0.97, 0.8, 0.99), (0.99, 0.98, 0.99))
    planner.ceilings[3.0, 3.0, 3.0] = (0.98, 0.9, 0.99)
    settings = {"iterations": "7", "spacing_mm": "[3,3,3]", "crop_size": "[8,8,8]"}
    second = second_plan(first, planner, FACTS, BUDGET, PlanOptions(stages=2, settings=settings), None)
    assert second.after == {"artery": 0.9}


def test_a_first_stage_leaves_thin_organs_to_the_second() -> None:
    data = made.fingerprint((200, 200, 200), (1.0, 1.0, 1.0))
    low = {grid.spacing_mm: (0.8,) * len(data.organs) for grid in rules.working_grids((1.0, 1.0, 1.0), (200, 200, 200))}
    budget = replace(BUDGET, cpu_step_voxels=200_000)
    alone, before_another = (derive_plan(data, budget, 3, low, sight=sight) for sight in (ONE_STAGE, FIRST_STAGE))
    assert max(alone.plan.spacing_mm or ()) < max(before_another.plan.spacing_mm or ())
    assert before_another.finer_for == ()


def test_on_a_cpu_steps_of_two_stages_are_smaller_than_those_of_one() -> None:
    steps = [budget.step_voxels for budget in budgets_of_stages(BUDGET)]
    assert steps == [2 * CPU_STEP_VOXELS // 3, CPU_STEP_VOXELS // 2]
    assert [budget.step_voxels for budget in budgets_of_stages(replace(BUDGET, device="cuda"))] == [None, None]


def test_an_organ_that_a_finer_grid_does_not_help_is_left_to_the_first_stage() -> None:
    second, _ = planned((0.97, 0.8, 0.7), (0.99, 0.98, 0.705))
    assert [label.name for label in second.plan.labels] == ["artery"]
    assert second.without_gain == ("duct",)


@pytest.mark.parametrize(
    ("coarse", "finer", "why"),
    [((0.99, 0.98, 0.97), (1.0, 1.0, 1.0), "nothing to gain"), ((0.99, 0.8, 0.8), (0.99, 0.8, 0.8), "ceiling rises")],
)
def test_two_stages_that_would_gain_nothing_are_refused(
    coarse: tuple[float, ...], finer: tuple[float, ...], why: str
) -> None:
    with pytest.raises(PlanError, match=why):
        planned(coarse, finer)


@pytest.mark.parametrize(
    ("coarse", "finer", "gain"),
    [
        ((0.97, 0.8, 0.7), (0.99, 0.98, 0.85), "artery 80.0 → 98.0"),  # a finer grid would cost the duct a tenth, too
        ((0.97, 0.92, 0.91), (0.99, 0.99, 0.99), ""),  # nothing costs a tenth
        ((0.97, 0.8, 0.7), (0.99, 0.85, 0.8), ""),
    ],
)
def test_a_second_stage_gains_where_its_grid_does_not_cost_a_tenth(
    coarse: tuple[float, ...], finer: tuple[float, ...], gain: str
) -> None:
    first, planner, _ = first_of(coarse, finer)
    told = second_gain(first, planner, FACTS, BUDGET, 3)
    assert (gain in told) if gain else not told
    assert "duct" not in told
    assert not second_gain(first, planner, FACTS, replace(BUDGET, processes=2), 3)
    assert not second_gain(replace(first, chosen=None), planner, FACTS, BUDGET, 3)  # a preset


def test_each_stage_has_its_settings_and_half_of_the_time() -> None:
    options = PlanOptions(stages=2, settings={"batch_size": "3", "finer.batch_size": "4"}, time_budget_s=600.0)
    first, second = options_of_stages(options, True)
    assert (first.settings, second.settings) == ({"batch_size": "3"}, {"batch_size": "4"})
    assert (first.time_budget_s, second.time_budget_s) == (300.0, 300.0)
    first, _ = options_of_stages(replace(options, time_budget_s=None), True)
    assert first.time_budget_s == pytest.approx(CPU_TRAINING_S / 0.9 / 2)  # as long together as one stage
    assert planned((0.97, 0.8, 0.7), (0.99, 0.98, 0.95), {"finer.batch_size": "2"})[0].plan.batch_size == 2
    for refused in (replace(options, preset="roth2018"), replace(options, gpus=2)):
        with pytest.raises(PlanError, match="--stages 2"):
            options_of_stages(refused, True)


def test_the_step_of_a_presets_second_stage_is_held_against_the_memory_too() -> None:
    second, first = planned((0.97, 0.8, 0.7), (0.99, 0.98, 0.95))
    large = second.plan.model_copy(update={"batch_size": 64})
    preset = replace(first, plan=first.plan.model_copy(update={"finer": large}), chosen=None)  # type: ignore[type-var]
    data = fingerprint(DATASET, FACTS)
    needs = r"a step of the second stage would take .* GiB.*--set finer\.batch_size=\d+$"
    with pytest.raises(PlanError, match=needs):
        apply_settings(preset, data, replace(BUDGET, memory_gib=4.0), {})
    assert apply_settings(preset, data, replace(BUDGET, memory_gib=4e3), {}).plan.finer == large


def test_a_first_stage_without_a_spacing_is_refused_for_what_it_is() -> None:
    with pytest.raises(PlanError, match="spacing_mm null"):
        planned((0.97, 0.8, 0.7), (0.99, 0.98, 0.95), first_settings={"spacing_mm": "null"})


def test_a_box_of_few_thick_slices_is_not_seen_slice_by_slice() -> None:
    data = made.fingerprint((6, 256, 256), (8.0, 1.4, 1.4))
    assert derive_plan(data, BUDGET, 3).plan.flat_axis == "z"
    plan = derive_plan(data, BUDGET, 3, may_be_flat=False).plan
    assert plan.flat_axis is None
    assert plan.crop_size[0] > 1


@pytest.mark.parametrize(
    ("wishes", "lengths"),
    [
        (PlanOptions(iterations=70), (70, 70)),
        (PlanOptions(settings={"iterations": "80"}), (80, 80)),
        (PlanOptions(settings={"iterations": "80", "finer.iterations": "30"}), (80, 30)),
        (PlanOptions(iterations=70, settings={"finer.iterations": "30"}), (70, 30)),
    ],
)
def test_a_length_that_is_told_is_that_of_both_stages_of_a_preset(
    wishes: PlanOptions, lengths: tuple[int, int]
) -> None:
    second, first = planned((0.97, 0.8, 0.7), (0.99, 0.98, 0.95))
    preset = replace(first, plan=first.plan.model_copy(update={"finer": second.plan}), chosen=None)  # type: ignore[type-var]
    budget = replace(BUDGET, memory_gib=4e3)
    done = fit_plan(preset, fingerprint(DATASET, FACTS), budget, lambda *_: preset, wishes, lambda *_: None)
    assert tuple(stage.iterations for stage in done.decision.plan.stages) == lengths
