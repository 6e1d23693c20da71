"""Tests of autoseg.plan, and of the plan that ships."""

from __future__ import annotations

import json
import re
from pathlib import Path

import made
import pytest
from pydantic import ValidationError
from two_stages import FIRST, second

from autoseg.errors import PlanError
from autoseg.labels import Label
from autoseg.network.build import build
from autoseg.network.unet import parameter_count
from autoseg.plan import (
    AugmentationPlan,
    Intensity,
    Level,
    LossPlan,
    NetworkPlan,
    OptimiserPlan,
    Plan,
    load_plan,
    parse_plan,
)
from autoseg.planning.presets import load_preset
from autoseg.settings import require_values, with_settings

FOUR_LEVELS = NetworkPlan(stages=tuple(Level(features=(2, 2)) for _ in range(4)))  # divisor 8


def preset(classes: int) -> Plan:
    """Return the shipped preset completed for one CT channel and `classes` classes."""
    own = {
        "name": "tiny",
        "channels": ["CT"],
        "labels": [{"value": n, "name": f"organ{n}"} for n in range(1, classes)],
        "intensity": [made.CT.model_dump(mode="json")],
        "device": "cuda",
    }
    return parse_plan(json.dumps(load_preset("roth2018") | own), "roth2018")


def test_a_plan_comes_back_from_its_json(tmp_path: Path) -> None:
    plan = made.plan(spacing_mm=(4.0, 0.1, 0.3), loss=LossPlan(kind="dice-ce", background=False, over="batch"))
    file = tmp_path / "plan.json"
    file.write_text(plan.model_dump_json(indent=2))
    assert load_plan(file) == plan


def test_the_interface_keys_stand_at_the_top_level() -> None:
    tree = json.loads(made.plan().model_dump_json())
    keys = {"downsampling", "spacing_mm", "crop_size", "batch_size", "iterations", "learning_rate", "seed"}
    assert keys <= set(tree)
    assert tree["spacing_mm"] is None


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"batch_size": "0"}, r"batch_size: .*greater than or equal to 1, got 0"),
        ({"iterations": "0"}, "iterations: "),
        ({"learning_rate": "NaN"}, "learning_rate: "),
        ({"learning_rate": "-1"}, "learning_rate: .*greater than 0, got -1"),
        ({"spacing_mm": "[1, 0, 1]"}, r"spacing_mm.1: .*greater than 0"),
        ({"organ_share": "1.5"}, "organ_share: .*less than or equal to 1"),
        ({"augmentation.scaling": "1"}, "augmentation.scaling: "),
        ({"device": "tpu"}, "device: "),
        ({"batch_size": "many"}, "batch_size: .*got 'many'"),
        ({"intensity": "[]"}, "intensity: "),
        ({"loss.weights": "[1, 1]"}, "loss.weights has 2 entries for 3 classes"),
        ({"labels": '[{"value": 1, "name": "a"}, {"value": 1, "name": "b"}]'}, r"must differ, got \[1, 1\]"),
        ({"network.stages": '[{"features": [4, 4], "kernel": [2, 3, 3]}, {"features": [4, 4]}]'}, "must be odd"),
    ],
)
def test_what_no_run_could_use_is_refused_in_one_line_with_the_key(settings: dict[str, str], match: str) -> None:
    with pytest.raises(PlanError, match=match) as caught:
        with_settings(made.plan(), settings)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_in_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(made.plan().model_dump_json().replace('"batch_size"', '"batchsize"'))
    with pytest.raises(PlanError, match=r"plan\.json: .*batchsize: ") as caught:
        load_plan(file)
    assert "batch_size: field required" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"name": 3'])
def test_a_file_that_is_no_plan_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(PlanError, match=r"plan\.json[:,] ") as caught:
        load_plan(tmp_path / "plan.json")
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_what_to_run() -> None:
    with pytest.raises(PlanError, match="run `autoseg plan DATASET RUN` first"):
        load_plan(Path("nowhere/plan.json"))


@pytest.mark.parametrize(
    ("crop", "nearest"), [((60, 64, 65), (64, 64, 64)), ((3, 50, 8), (8, 48, 8)), ((9, 15, 100), (8, 16, 96))]
)
def test_a_crop_that_the_network_cannot_divide_gets_the_nearest_that_it_can(
    crop: tuple[int, int, int], nearest: tuple[int, int, int]
) -> None:
    with pytest.raises(ValidationError) as caught:
        made.plan(crop_size=crop, network=FOUR_LEVELS)
    assert f"crop_size {crop} must be divisible by (8, 8, 8); nearest valid: {nearest}" in str(caught.value)
    assert made.plan(crop_size=nearest, network=FOUR_LEVELS).crop_size == nearest


def test_settings_reach_inside_and_leave_the_rest() -> None:
    plan = made.plan()
    changed = with_settings(plan, {"crop_size": "[16,16,16]", "optimiser.averaging": "0.99", "name": "other"})
    assert (changed.crop_size, changed.optimiser.averaging, changed.name) == ((16, 16, 16), 0.99, "other")
    assert with_settings(changed, {"crop_size": "[8,8,8]", "optimiser.averaging": "0", "name": "tiny"}) == plan


def test_a_key_that_is_left_out_where_it_is_not_set_can_be_set() -> None:
    plan = with_settings(made.plan(regions=((1, 2), (2,))), {"logit_scale": "2"})
    assert plan.logit_scale == 2.0
    assert with_settings(plan, {"logit_scale": "null"}).logit_scale is None


@pytest.mark.parametrize("key", ["cropsize", "optimiser.momentum", "optimizer.name", "name.first", ""])
def test_setting_an_unknown_key_lists_the_known_ones(key: str) -> None:
    with pytest.raises(PlanError, match=r"the plan has no such key \(lists are set whole\); near it: \w+"):
        with_settings(made.plan(), {key: "1"})


def test_a_plan_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        made.plan().seed = 3  # type: ignore[misc]


def test_outside_a_ct_lies_air_and_outside_anything_else_its_mean() -> None:
    assert made.CT.pad_value == -4.0  # (-100 - 100) / 50
    assert Intensity(kind="per-image", low=0.5, high=99.5).pad_value == 0.0


def test_the_divisor_is_the_product_of_the_poolings_below_the_first_level() -> None:
    first, flat, deep = ((2, 2, 2), (1, 2, 2), (2, 4, 2))
    stages = tuple(Level(features=(2, 2), pooling=p) for p in (first, flat, deep))
    assert NetworkPlan(stages=stages).divisor == (2, 8, 4)


def test_the_preset_roth2018_has_every_number_of_the_paper() -> None:
    plan = preset(classes=8)
    assert (plan.downsampling, plan.spacing_mm) == ((4, 4, 4), None)
    assert (plan.crop_size, plan.batch_size, plan.organ_share) == ((64, 64, 64), 3, 0)
    assert (plan.learning_rate, plan.iterations) == (1e-2, 50_000)
    optimiser = OptimiserPlan(name="adam", schedule="constant", warmup_iterations=0, weight_decay=0, averaging=0)
    assert plan.optimiser == optimiser
    assert plan.optimiser.gradient_clip is None
    assert plan.loss == LossPlan(kind="dice", background=True, over="image", weights=None)
    augmentation = AugmentationPlan(  # and no other change
        rotation_deg=20, translation_voxels=20, bspline_spacing_voxels=24, bspline_voxels=4
    )
    assert plan.augmentation == augmentation
    assert [s.features for s in plan.network.stages] == [(32, 64), (64, 128), (128, 256), (256, 512)]
    assert {s.kernel for s in plan.network.stages} == {(3, 3, 3)}
    assert {s.pooling for s in plan.network.stages} == {(2, 2, 2)}
    assert (plan.network.norm, plan.network.activation, plan.network.up) == ("batch", "relu", "keep")


def test_the_network_of_the_paper_has_19_million_parameters() -> None:
    plan = preset(classes=8)
    assert parameter_count(build(plan)) == 19_074_120


def test_background_is_a_class_beside_the_labels() -> None:
    assert made.plan(labels=(Label(value=7, name="a"), Label(value=3, name="b"))).classes == 3


def test_a_plan_of_two_stages_is_written_and_read_whole_and_the_first_is_as_if_it_stood_alone() -> None:
    both = FIRST.model_copy(update={"finer": second()})
    again = parse_plan(both.model_dump_json(), "plan")
    assert again == both
    assert again.stages == (FIRST, second())
    assert "finer" not in FIRST.model_dump_json()
    assert FIRST.stages == (FIRST,)


@pytest.mark.parametrize(
    ("finer", "why"),
    [
        (second(margin_mm=None), "must have margin_mm"),
        (second(flat_axis="z"), "no flat_axis"),
        (second(labels=(Label(value=8, name="vein"),)), "must know some of the labels"),
        (second(channels=("CT", "vein")), "needs the channels"),
    ],
)
def test_a_second_stage_that_does_not_fit_the_first_is_refused(finer: Plan, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        parse_plan(FIRST.model_copy(update={"finer": finer}).model_dump_json(), "plan")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("batch_size", "two", "batch_size: input should be a valid integer"),
        ("optimiser.name", "sgd", "optimiser.name: input should be 'adam', 'adamw' or 'muon', got 'sgd'"),
        ("finer.batch_size", "0", "finer.batch_size: input should be greater than or equal to 1, got 0"),
        ("loss.knd", "dice", "--set loss.knd: the plan has no such key (lists are set whole); near it: loss.kind"),
        ("crop_size.0", "3", "crop_size: input should be a valid array"),
    ],
)
def test_a_value_that_no_plan_can_have_is_refused_without_a_plan(key: str, value: str, told: str) -> None:
    with pytest.raises(PlanError, match=re.escape(told)):
        require_values({key: value})


def test_a_key_that_is_left_out_as_it_has_its_default_can_be_set() -> None:
    assert with_settings(made.plan(), {"augmentation.deformed_share": "0.5"}).augmentation.deformed_share == 0.5


def test_values_that_depend_on_other_keys_are_left_to_the_plan() -> None:
    require_values({"spacing_mm": "null", "batch_size": "2", "loss.weights": "[1,2]", "optimiser": '{"name":"muon"}'})
