"""Tests of autoseg.training.schedule."""

from __future__ import annotations

import made
import pytest

from autoseg.plan import LossPlan, OptimiserPlan, Plan
from autoseg.training.schedule import class_weights_at, learning_rate


def plan_with(schedule: str, warmup: int = 0) -> Plan:
    optimiser = OptimiserPlan(name="adam", schedule=schedule, warmup_iterations=warmup)  # type: ignore[arg-type]
    return made.plan(iterations=100, learning_rate=0.01, optimiser=optimiser)


@pytest.mark.parametrize("iteration", [0, 50, 99, 1000])
def test_a_constant_rate_is_constant(iteration: int) -> None:
    assert learning_rate(iteration, plan_with("constant")) == 0.01


@pytest.mark.parametrize(("iteration", "share"), [(0, 1.0), (25, 0.8535534), (50, 0.5), (100, 0.0), (150, 0.0)])
def test_a_cosine_falls_from_the_rate_to_zero(iteration: int, share: float) -> None:
    assert learning_rate(iteration, plan_with("cosine")) == pytest.approx(0.01 * share)


@pytest.mark.parametrize("iteration", [98, 99])
def test_the_last_iterations_still_learn(iteration: int) -> None:
    assert 0 < learning_rate(iteration, plan_with("cosine")) < 0.01 / 100


@pytest.mark.parametrize(("iteration", "share"), [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0)])
def test_a_warm_up_of_four_rises_in_quarters_and_never_starts_at_zero(iteration: int, share: float) -> None:
    assert learning_rate(iteration, plan_with("constant", warmup=4)) == pytest.approx(0.01 * share)


@pytest.mark.parametrize(("iteration", "share"), [(0, 0.25), (3, 1.0), (22, 1.0)])
def test_a_short_training_warms_up_over_a_fifth_of_it(iteration: int, share: float) -> None:
    plan = plan_with("constant", warmup=50).model_copy(update={"iterations": 23})
    assert learning_rate(iteration, plan) == pytest.approx(0.01 * share)


def test_a_warm_up_multiplies_the_cosine() -> None:
    risen, whole = (learning_rate(1, plan_with("cosine", warmup=w)) for w in (4, 0))
    assert risen == pytest.approx(whole / 2)


@pytest.mark.parametrize(("iteration", "expected"), [(0, (0.25, 1, 4)), (50, (0.5, 1, 2)), (100, (1, 1, 1))])
def test_fading_weights_end_at_one_by_way_of_their_square_root(iteration: int, expected: tuple[float, ...]) -> None:
    loss = LossPlan(kind="dice-ce", background=False, over="batch", weights=(0.25, 1, 4), fade_weights=True)
    assert class_weights_at(iteration, made.plan(iterations=100, loss=loss)) == pytest.approx(expected)


@pytest.mark.parametrize("weights", [None, (0.25, 1.0, 4.0)])
def test_weights_that_do_not_fade_stay(weights: tuple[float, ...] | None) -> None:
    loss = LossPlan(kind="dice", background=True, over="image", weights=weights)
    assert {class_weights_at(n, made.plan(iterations=100, loss=loss)) for n in (0, 50, 100)} == {weights}
