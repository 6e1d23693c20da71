"""Plans of a small network, with every norm, loss, precision and optimiser."""

from __future__ import annotations

from typing import Any

import made

from autoseg.plan import LossPlan, NetworkPlan, OptimiserPlan, Plan
from autoseg.planning import rules

STEPS = rules.poolings((32, 32, 32), (1.0, 1.0, 1.0))[:1]
ADAMW = OptimiserPlan(name="adamw", schedule="cosine", averaging=0.99, gradient_clip=12.0)
PLAIN_ADAM = OptimiserPlan(name="adam", schedule="constant")
DICE = LossPlan(kind="dice", background=True, over="image")
WEIGHTED = LossPlan(kind="dice-ce", background=False, over="batch", weights=(1.0, 2.0, 3.0), fade_weights=True)
DICE_CE = LossPlan(kind="dice-ce", background=False, over="batch")
PARTIAL = LossPlan(kind="dice-ce", background=False, over="batch", partial=True)


def plan_with(norm: str = "batch", kind: str = "unet", **changes: Any) -> Plan:
    """Return a plan of two levels, whose batch has 2 × 32³ voxels."""
    network = NetworkPlan.model_validate(
        {
            "kind": kind,
            "stages": rules.stages(STEPS, (1.0, 1.0, 1.0), base=8, widest=32),
            "norm": norm,
            "activation": "leaky-relu",
            "up": "skip",
        }
    )
    settings = {"crop_size": (32, 32, 32), "optimiser": ADAMW, "loss": WEIGHTED, "precision": "bfloat16"}
    return made.plan(network=network, **(settings | changes))


PLANS = {
    **{f"{norm} norm": plan_with(norm) for norm in ("batch", "instance", "group")},
    "Muon": plan_with(optimiser=ADAMW.model_copy(update={"name": "muon"})),
    "Dice, Adam": plan_with(loss=DICE, optimiser=PLAIN_ADAM),
    "partial labels": plan_with(loss=PARTIAL),
    "regions, unsure voxels": plan_with(regions=((1, 2), (2,)), ignored=9, region_parts=True, loss=DICE_CE),
    "float32": plan_with(precision="float32"),
    "residual": plan_with(kind="residual"),
    "residual, instance norm": plan_with("instance", "residual"),
}
