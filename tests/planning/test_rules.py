"""The planning rules, by hand-worked numbers and by properties over random fingerprints."""

from __future__ import annotations

import math
from itertools import pairwise

import made
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.errors import PlanError
from autoseg.network.memory import training_bytes
from autoseg.plan import Plan
from autoseg.planning import rules
from autoseg.planning.budget import Budget, step_gib
from autoseg.planning.planner import Decision, derive_plan
from autoseg.planning.rules import WorkingGrid

CPU = Budget(device="cpu", memory_gib=22.0, bfloat16=True)
sizes = st.tuples(st.integers(1, 2000), st.integers(1, 700), st.integers(1, 700))
lengths = st.floats(0.1, 10.0)
spacings = st.tuples(lengths, lengths, lengths)
memories = st.floats(0.5, 200.0)
fingerprint = made.fingerprint


def gpu(gib: float) -> Budget:
    return Budget(device="cuda", memory_gib=gib, bfloat16=True)


def cheap(plan: Plan, budget: Budget) -> float:
    """Stand in for the counted memory, which takes a second for each network: about what it says, by hand."""
    voxels = plan.batch_size * math.prod(plan.crop_size)
    return 0.5 + 1300.0 * voxels / 2**30 + 0.2 * len(plan.network.stages)


def chosen(decision: Decision) -> WorkingGrid:
    assert decision.chosen is not None
    return decision.chosen


def test_small_volumes_are_seen_whole_in_batches_from_a_tenth_of_the_cases() -> None:
    plan = derive_plan(fingerprint((36, 50, 35), (1.0, 1.0, 1.0)), CPU, seed=0).plan
    assert plan.crop_size == (40, 56, 40)
    assert plan.batch_size == 5  # a tenth of 50 cases, fewer than the 8 that the voxels allow
    assert plan.spacing_mm == (1.0, 1.0, 1.0)


def test_a_full_ct_is_coarsened_on_a_cpu_until_the_crop_sees_half_of_it() -> None:
    decision = derive_plan(fingerprint((400, 512, 512), (1.0, 0.7, 0.7)), CPU, seed=0)
    assert chosen(decision).factor > 1
    assert all(c >= 0.5 * n for c, n in zip(decision.plan.crop_size, chosen(decision).shape, strict=True))
    assert decision.rejected[-1].gib is None  # too many voxels for a CPU, whatever the memory


def test_a_small_organ_in_a_large_body_needs_no_half_of_the_body() -> None:
    small = fingerprint((800, 512, 512), (1.5, 1.0, 1.0), organ_mm=(40.0, 40.0, 40.0))
    large = fingerprint((800, 512, 512), (1.5, 1.0, 1.0), organ_mm=(900.0, 400.0, 400.0))
    finer, coarser = (derive_plan(found, gpu(11.0), seed=0, cost=cheap) for found in (small, large))
    assert chosen(finer).factor == 1.0
    assert chosen(coarser).factor > 1.5


def test_organs_that_a_grid_would_cost_too_much_get_a_finer_one() -> None:
    found = fingerprint((400, 400, 400), (0.8, 0.8, 0.8), organ_mm=(300.0, 300.0, 300.0))
    usual = derive_plan(found, gpu(11.0), seed=0, cost=cheap)
    factor, usual_mm = chosen(usual).factor, chosen(usual).spacing_mm
    good = derive_plan(found, gpu(11.0), seed=0, ceilings={usual_mm: (0.95,)}, cost=cheap)
    low = derive_plan(found, gpu(11.0), seed=0, ceilings={usual_mm: (0.85,)}, cost=cheap)
    assert good.plan == usual.plan
    assert chosen(low).factor < factor
    assert low.finer_for == ("liver",)
    assert all(c >= n / 3 for c, n in zip(low.plan.crop_size, chosen(low).shape, strict=True))


def test_the_batch_grows_only_once_the_crop_is_the_whole_volume() -> None:
    found = fingerprint((96, 96, 96), (1.0, 1.0, 1.0), cases=200)
    little, much = (derive_plan(found, gpu(gib), seed=0, cost=cheap).plan for gib in (2.5, 24.0))
    assert little.batch_size == 2
    assert math.prod(little.crop_size) < 96**3
    assert much.crop_size == (96, 96, 96)
    assert much.batch_size == rules.LARGEST_BATCH


def test_too_little_memory_is_said_with_a_way_out() -> None:
    with pytest.raises(PlanError, match=r"0\.1 GiB are too little even at a downsampling of 64; plan for more"):
        derive_plan(fingerprint((100, 100, 100), (1.0, 1.0, 1.0)), gpu(0.1), seed=0, cost=cheap)


@settings(max_examples=60)
@given(sizes, spacings, st.integers(1, 400), memories, memories)
def test_more_memory_never_gives_a_coarser_grid_nor_fewer_voxels_on_the_same(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], cases: int, a: float, b: float
) -> None:
    found = fingerprint(shape, spacing, cases)
    plans = []
    for gib in sorted((a, b)):
        try:
            plans.append(derive_plan(found, gpu(gib), seed=0, cost=cheap))
        except PlanError:
            assert not plans  # what fits little memory fits more
    if len(plans) == 2:
        less, more = plans
        assert chosen(more).factor <= chosen(less).factor
        if chosen(more) == chosen(less):
            voxels = [d.plan.batch_size * math.prod(d.plan.crop_size) for d in plans]
            assert voxels[0] <= voxels[1]


@settings(max_examples=60)
@given(sizes, spacings, st.integers(1, 400), memories, st.sampled_from(["cpu", "cuda"]), st.integers(1, 60))
def test_any_fingerprint_gives_a_plan_that_fits_and_the_same_one_again_or_says_why_not(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    cases: int,
    gib: float,
    device: str,
    labels: int,
) -> None:
    found = fingerprint(shape, spacing, cases, labels=labels)
    budget = gpu(gib) if device == "cuda" else Budget(device="cpu", memory_gib=gib, bfloat16=True)
    try:
        decision = derive_plan(found, budget, seed=0, cost=cheap)
    except PlanError:
        return  # its text is held by the test above
    plan = decision.plan  # its own validation holds the divisibility
    assert derive_plan(found, budget, seed=0, cost=cheap) == decision
    assert 1 <= plan.batch_size <= max(1, cases)
    assert cheap(plan, budget) <= budget.step_gib
    padded = [-(-n // d) * d for n, d in zip(chosen(decision).shape, plan.network.divisor, strict=True)]
    least = [max(p, m) for p, m in zip(padded, rules.SMALLEST_CROP, strict=True)]
    assert all(c <= n for c, n in zip(plan.crop_size, least, strict=True))


def test_counted_memory_keeps_within_the_budget_and_grows_with_it() -> None:
    found = fingerprint((130, 180, 180), (1.5, 1.5, 1.5))
    plans = [derive_plan(found, gpu(gib), seed=0) for gib in (6.0, 12.0, 24.0)]
    factors = [chosen(decision).factor for decision in plans]
    assert factors == sorted(factors, reverse=True)
    assert all(d.step_gib == step_gib(d.plan, gpu(6.0)) for d in plans)
    assert all(d.step_gib <= 0.9 * gib for d, gib in zip(plans, (6.0, 12.0, 24.0), strict=True))
    assert training_bytes(plans[0].plan, True) > 2**30


def test_class_weights_are_the_inverse_root_of_the_shares_with_mean_one() -> None:
    organ = fingerprint((9, 9, 9), (1.0, 1.0, 1.0)).organs[0]
    background, liver = rules.balanced_class_weights([organ])
    assert liver / background == pytest.approx(math.sqrt(0.99 / 0.01), rel=1e-3)
    assert 0.99 * background + 0.01 * liver == pytest.approx(1.0, abs=1e-3)


@given(sizes, spacings)
def test_every_grid_is_at_least_as_coarse_as_the_one_before(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    grids = rules.working_grids(spacing, shape)
    assert grids[0].spacing_mm == spacing
    for finer, coarser in pairwise(grids):
        assert all(a <= b for a, b in zip(finer.spacing_mm, coarser.spacing_mm, strict=True))


@pytest.mark.parametrize(
    ("shape", "spacing", "axis"),
    [((1, 300, 200), (6.0, 0.5, 0.5), 0), ((6, 256, 256), (8.0, 1.4, 1.4), 0), ((256, 256, 1), (1.0, 1.0, 3.0), 2)],
)
def test_single_slices_and_few_thick_ones_get_a_2d_network(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], axis: int
) -> None:
    plan = derive_plan(fingerprint(shape, spacing), CPU, seed=0).plan
    assert plan.flat == axis
    assert plan.crop_size[axis] == plan.network.divisor[axis] == plan.downsampling[axis] == 1
    assert {stage.kernel[axis] for stage in plan.network.stages} == {1}
    assert {k for stage in plan.network.stages for n, k in enumerate(stage.kernel) if n != axis} == {3}
    assert plan.augmentation.translation_voxels >= 6.4  # a tenth of the crop within the slice, not of its one voxel


def test_a_volume_has_no_flat_axis_and_its_plan_does_not_speak_of_one() -> None:
    plan = derive_plan(fingerprint((36, 50, 35), (1.0, 1.0, 1.0)), CPU, seed=0).plan
    assert plan.flat is None
    assert "flat_axis" not in plan.model_dump_json()
