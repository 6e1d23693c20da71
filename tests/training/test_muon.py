"""Tests of autoseg.training.muon: singular values of 1, AdamW for all else, and nothing moved by what is not finite."""

from __future__ import annotations

import made
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import AdamW

from autoseg.plan import Level, NetworkPlan, OptimiserPlan
from autoseg.training.muon import QUINTIC, ROUNDS, Muon, hidden_kernels, orthogonal
from autoseg.training.state import State, new_state

PLAN = made.plan(
    network=NetworkPlan(stages=(Level(features=(4, 4)), Level(features=(4, 8)))),
    optimiser=OptimiserPlan(name="muon", schedule="constant", weight_decay=0.1),
)


def singular_value(value: float) -> float:
    """Return what the rounds make of a singular value of a matrix of norm 1, one after another."""
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        value = a * value + b * value**3 + c * value**5
    return value


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_singular_vectors_stay_and_singular_values_are_those_of_the_rounds(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    u, values, vt = torch.linalg.svd(matrix.double(), full_matrices=False)
    expected = [singular_value(float(value)) for value in values / values.norm()]
    torch.testing.assert_close(
        orthogonal(matrix).double(), u @ torch.diag(torch.tensor(expected, dtype=torch.float64)) @ vt, rtol=0, atol=2e-3
    )


def test_the_kernels_between_the_first_and_the_last_are_moved() -> None:
    network = new_state(PLAN).network
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    kernels = [names[id(kernel)] for kernel in hidden_kernels(network)]
    assert "down.0.0.weight" not in kernels
    assert "classify.weight" not in kernels
    assert kernels == [
        "down.0.3.weight",
        "down.1.0.weight",
        "down.1.3.weight",
        "up.0.weight",
        "across.0.0.weight",
        "across.0.3.weight",
    ]


def moved(state: State, steps: int, scale: float = 1.0) -> State:
    """Return a state after steps along gradients of noise, the same for each parameter in every network."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        for parameter in state.network.parameters():
            parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
        state.optimiser.step()
    return state


def test_all_but_the_kernels_are_moved_by_adamw() -> None:
    adamw = PLAN.model_copy(update={"optimiser": PLAN.optimiser.model_copy(update={"name": "adamw"})})
    ours, theirs = (moved(new_state(plan), steps=3) for plan in (PLAN, adamw))
    assert isinstance(theirs.optimiser, AdamW)
    kernels = {id(kernel) for kernel in hidden_kernels(ours.network)}
    for one, other in zip(ours.network.parameters(), theirs.network.parameters(), strict=True):
        assert torch.equal(one, other) == (id(one) not in kernels)


def test_a_step_of_a_kernel_has_the_size_of_one_of_adamw_whatever_its_gradient_and_decays_the_weights() -> None:
    begun = [kernel.detach().clone() for kernel in hidden_kernels(new_state(PLAN).network)]
    steps = [
        [after - before for after, before in zip(hidden_kernels(state.network), begun, strict=True)]
        for state in (moved(new_state(PLAN), steps=1, scale=scale) for scale in (1.0, 1000.0))
    ]
    for step, same, before in zip(*steps, begun, strict=True):
        torch.testing.assert_close(step, same, rtol=1e-3, atol=1e-6)
        plain = step + PLAN.learning_rate * 0.1 * before
        assert float(plain.detach().square().mean().sqrt()) == pytest.approx(0.2 * PLAN.learning_rate, rel=0.35)


def test_what_is_not_finite_moves_nothing() -> None:
    state = moved(new_state(PLAN), steps=2)
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    assert isinstance(state.optimiser, Muon)
    state.optimiser.found_inf = torch.ones(())  # type: ignore[attr-defined]
    moved(state, steps=1, scale=float("nan"))
    after = state.tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
