"""The planning rules, by hand-worked numbers and by properties over random fingerprints."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.planning import rules
from autoseg.planning.fingerprint import ChannelFingerprint, Fingerprint, OrganFingerprint
from autoseg.planning.planner import Budget, derive_plan

CPU = Budget(device="cpu", memory_gib=22.0, bfloat16=True)
sizes = st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
lengths = st.floats(0.1, 10.0)
spacings = st.tuples(lengths, lengths, lengths)


def fingerprint(shape: tuple[int, int, int], spacing: tuple[float, float, float], cases: int = 50) -> Fingerprint:
    organ = OrganFingerprint(
        value=1, name="liver", cases=cases, median_ml=1, median_voxels=9, mean_share=0.01, median_extent_mm=(9, 9, 9)
    )
    return Fingerprint(
        name="data",
        cases=cases,
        median_shape=shape,
        smallest_shape=shape,
        largest_shape=shape,
        median_spacing_mm=spacing,
        smallest_spacing_mm=spacing,
        largest_spacing_mm=spacing,
        channels=(ChannelFingerprint(name="CT", ct=True, low=-100, high=200, mean=50, std=60),),
        organs=(organ,),
    )


def test_small_volumes_are_seen_whole_in_batches_from_a_tenth_of_the_cases() -> None:
    plan = derive_plan(fingerprint((36, 50, 35), (1.0, 1.0, 1.0)), CPU, seed=0).plan
    assert plan.crop_size == (40, 56, 40)
    assert plan.batch_size == 5  # a tenth of 50 cases, fewer than the 8 that the voxels allow
    assert plan.spacing_mm == (1.0, 1.0, 1.0)


def test_a_full_ct_is_coarsened_on_a_cpu_until_the_crop_sees_half_of_it() -> None:
    decision = derive_plan(fingerprint((400, 512, 512), (1.0, 0.7, 0.7)), CPU, seed=0)
    assert decision.chosen is not None
    assert decision.chosen.factor > 1
    assert all(c >= 0.5 * n for c, n in zip(decision.plan.crop_size, decision.chosen.shape, strict=True))


def test_more_gpu_memory_never_gives_a_coarser_grid_and_fits() -> None:
    found = fingerprint((130, 180, 180), (1.5, 1.5, 1.5))
    plans = [
        derive_plan(found, Budget(device="cuda", memory_gib=gib, bfloat16=True), seed=0) for gib in (6.0, 12.0, 24.0)
    ]
    factors = [d.chosen.factor for d in plans if d.chosen is not None]
    assert factors == sorted(factors, reverse=True)
    assert all(d.step_gib <= 0.85 * gib for d, gib in zip(plans, (6.0, 12.0, 24.0), strict=True))


def test_class_weights_are_the_inverse_root_of_the_shares_with_mean_one() -> None:
    organ = fingerprint((9, 9, 9), (1.0, 1.0, 1.0)).organs[0]
    background, liver = rules.class_weights([organ])
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


@settings(max_examples=15, deadline=None)
@given(sizes, spacings, st.integers(1, 60))
def test_any_fingerprint_gives_a_valid_plan_and_the_same_one_again(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], cases: int
) -> None:
    found = fingerprint(shape, spacing, cases)
    plan = derive_plan(found, CPU, seed=0).plan  # its validation holds the divisibility
    assert plan == derive_plan(found, CPU, seed=0).plan
    assert 1 <= plan.batch_size <= max(1, cases)
