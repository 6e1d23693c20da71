"""Tests of autoseg.training.step: that every part of the recipe reaches the weights."""

from __future__ import annotations

import made
import pytest
import torch

from autoseg.data.batches import Batch
from autoseg.network.losses import segmentation_loss
from autoseg.plan import LossPlan, OptimiserPlan, Plan
from autoseg.training.state import State, new_state
from autoseg.training.step import Stepper

LOSS = LossPlan(kind="dice-ce", background=False, over="batch")


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, 8, 8, 8, generator=generator)
    truth = torch.randint(0, 3, (2, 1, 8, 8, 8), generator=generator).to(torch.uint8)
    return {"data": image, "seg": truth, "keys": ["a", "b"], "hidden": [(), ()]}


def plan_with(loss: LossPlan = LOSS, **optimiser: float) -> Plan:
    return made.plan(loss=loss, optimiser=OptimiserPlan(name="adamw", schedule="constant", **optimiser))  # type: ignore[arg-type]


def after(plan: Plan, batch: Batch, steps: int = 1) -> tuple[State, tuple[float, float]]:
    """Return the state after some steps, and the last one's loss and gradient norm."""
    state = new_state(plan)
    step = Stepper(plan, state)
    for _ in range(steps):
        outcome = step(batch)
    return state, outcome.read()


def flat(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_class_weights_enter_the_loss(batch: Batch) -> None:
    weights = (1.0, 9.0, 0.1)
    loss = LOSS.model_copy(update={"weights": weights})
    _, (told, _) = after(plan_with(loss), batch)
    logits = new_state(plan_with(loss)).network(batch["data"])
    truth = batch["seg"][:, 0].long()
    expected, plain = (
        segmentation_loss(logits, truth, loss, None if w is None else torch.tensor(w)).item() for w in (weights, None)
    )
    assert told == pytest.approx(expected, abs=0.02)  # bfloat16 where it is fast
    assert abs(told - plain) > 0.1


def test_the_gradient_is_clipped_and_the_norm_before_it_is_told(batch: Batch) -> None:
    free, (_, norm) = after(plan_with(), batch)
    clipped, (_, same) = after(plan_with(gradient_clip=1e-3), batch)
    assert same == pytest.approx(norm)
    moments = [
        torch.cat([m["exp_avg"].flatten() for m in state.optimiser.state_dict()["state"].values()]).norm().item()
        for state in (free, clipped)
    ]
    assert moments[0] == pytest.approx(0.1 * norm, rel=1e-3)  # Adam's first moment: a tenth of the gradient
    assert moments[1] == pytest.approx(0.1 * 1e-3, rel=1e-2)


def test_weights_decay(batch: Batch) -> None:
    plain, _ = after(plan_with(), batch)
    decayed, _ = after(plan_with(weight_decay=0.5), batch)
    begun = flat(new_state(plan_with()).network)
    rate = plan_with().learning_rate
    torch.testing.assert_close(flat(decayed.network), flat(plain.network) - 0.5 * rate * begun, rtol=1e-3, atol=1e-6)


def test_the_average_forgets_the_start_and_then_follows_at_its_decay(batch: Batch) -> None:
    plan = plan_with(averaging=0.5)
    state = new_state(plan)
    step, expected = Stepper(plan, state), flat(state.network)
    for iteration in range(12):
        step(batch)
        decay = min(0.5, (1 + iteration) / (10 + iteration))
        expected = decay * expected + (1 - decay) * flat(state.network)
    assert state.average is not None
    torch.testing.assert_close(flat(state.average), expected, rtol=1e-4, atol=1e-6)
