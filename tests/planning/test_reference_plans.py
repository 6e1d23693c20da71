"""The plans that the planner derives for known cohorts: each was read by eye, and changes only on purpose.

`python -m pytest tests/test_reference_plans.py --rewrite-plans` writes them anew; read the difference first.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.plan import load_plan
from autoseg.planning import rules
from autoseg.planning.budget import Budget
from autoseg.planning.explain import Context, explain
from autoseg.planning.explain_split import Sides
from autoseg.planning.planner import derive_plan
from autoseg.planning.presets import load_preset, preset_plan
from autoseg.planning.recipe import working_median

FOLDER = Path(__file__).parents[2] / "plans" / "reference"
CPU = Budget(device="cpu", memory_gib=22.0, bfloat16=True)
SLOW = replace(CPU, cpu_batch=2)  # a step takes so long that few fit
BUDGETS = {
    "abdomen_ct": ("8gib", "11gib", "24gib", "80gib"),
    "headneck_ct": ("cpu", "8gib"),
    "hippocampus": ("cpu", "slow_cpu", "8gib"),
    "prostate_mr": ("8gib",),
}


@pytest.mark.parametrize(("cohort", "name"), [(cohort, name) for cohort, names in BUDGETS.items() for name in names])
def test_the_plan_of_a_known_cohort_is_the_one_that_was_read(
    cohort: str, name: str, request: pytest.FixtureRequest
) -> None:
    text = (FOLDER / cohort / "fingerprint.json").read_text(encoding="utf-8")
    found = Fingerprint.model_validate_json(text)
    gib = name.removesuffix("gib")
    cpus = {"cpu": CPU, "slow_cpu": SLOW}
    budget = cpus.get(name) or Budget(device="cuda", memory_gib=float(gib), bfloat16=True)
    decision = derive_plan(found, budget, seed=0)
    voxels = found.cases * math.prod(working_median(decision.plan, found))
    context = Context(
        fingerprint=found,
        budget=budget,
        findings=(),
        ceilings=None,
        cases=found.cases,
        sides=Sides(splits=()),
        training_s=1458.0 if name == "slow_cpu" else None,
        cache_bytes=voxels * (2 * len(found.channels) + 1),
    )
    stored, words = (FOLDER / cohort / f"{name}.{suffix}" for suffix in ("json", "md"))
    if request.config.getoption("--rewrite-plans"):
        stored.write_text(decision.plan.model_dump_json(indent=1) + "\n", encoding="utf-8")
        words.write_text(explain(decision, context), encoding="utf-8")
    assert load_plan(stored) == decision.plan  # what a file does not name is as it was before there was a name for it
    assert words.read_text(encoding="utf-8") == explain(decision, context)


def test_a_preset_of_regions_keeps_what_their_outputs_are() -> None:
    text = (FOLDER / "hippocampus" / "fingerprint.json").read_text(encoding="utf-8")
    found = Fingerprint.model_validate_json(text).model_copy(update={"regions": ((1, 2), (2,))})
    file = str(FOLDER / "hippocampus" / "8gib.json")
    disjoint = dict(load_preset(file))
    before = disjoint | {"regions": [[1, 2], [2]]}
    presets = (disjoint, before, before | {"logit_scale": 2.0}, before | {"region_parts": True})
    plans = [preset_plan(found, "cuda", preset, 0, file) for preset in presets]
    outputs = [(plan.logit_scale, plan.region_parts) for plan in plans]
    apart = preset_plan(found.model_copy(update={"regions": None}), "cuda", presets[-1], 0, file)
    assert (apart.regions, apart.region_parts) == (None, False)
    assert outputs == [(None, True), (None, False), (2.0, False), (None, True)]


@pytest.mark.parametrize("cohort", ["hippocampus", "abdomen_ct"])
def test_a_plan_of_one_cohort_is_a_preset_for_another(cohort: str) -> None:
    found = Fingerprint.model_validate_json((FOLDER / cohort / "fingerprint.json").read_text(encoding="utf-8"))
    file = str(FOLDER / "headneck_ct" / "8gib.json")
    plan = preset_plan(found, "cuda", load_preset(file), 0, file)
    assert plan.loss.weights == rules.balanced_class_weights(found.organs)
    assert plan.spacing_mm == (2.5, 3.906, 3.906)
    assert plan.downsampling == pytest.approx(
        [a / b for a, b in zip((2.5, 3.906, 3.906), found.median_spacing_mm, strict=True)], abs=1e-4
    )
