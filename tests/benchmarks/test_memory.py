"""Predicted against measured memory of a training step on this machine's CPU.

python -m pytest tests/benchmarks/test_memory.py --benchmark-only --benchmark-json=FILE: `extra_info` has the figures.
The first twelve also chose the one constant of the prediction, how much of freed memory the heap keeps; the last four
did not.
"""

from __future__ import annotations

import made
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from autoseg.imaging.grid import Triple, Voxels
from autoseg.network.device import has_fast_bfloat16
from autoseg.plan import Level, NetworkPlan, OptimiserPlan, Plan
from autoseg.planning import rules
from autoseg.planning.budget import Budget, step_gib
from autoseg.training.measure import measure_step

ADAMW = OptimiserPlan(name="adamw", schedule="cosine", averaging=0.99)
PAPER = NetworkPlan(stages=tuple(Level(features=f) for f in ((32, 64), (64, 128), (128, 256), (256, 512))))
EVEN, FLAT = (1.0, 1.0, 1.0), (3.6, 0.6, 0.6)


def lean(crop: Voxels, batch: int, base: int, norm: str = "batch", spacing: Triple = EVEN) -> Plan:
    steps = rules.poolings(crop, spacing)
    stages = rules.stages(steps, spacing, base=base, widest=320)
    network = NetworkPlan.model_validate({"stages": stages, "norm": norm, "activation": "leaky-relu", "up": "skip"})
    return made.plan(crop_size=crop, batch_size=batch, network=network, optimiser=ADAMW, tile_depth=crop[0])


def paper(batch: int) -> Plan:
    return made.plan(crop_size=(64, 64, 64), batch_size=batch, network=PAPER, tile_depth=64)


PLANS = {
    "head and neck's, 3×64×48×80, 16 features": lean((64, 48, 80), 3, 16),
    "hippocampus's, 8×40×56×40, 16": lean((40, 56, 40), 8, 16),
    "2×96³, 16": lean((96, 96, 96), 2, 16),
    "2×128³, 16": lean((128, 128, 128), 2, 16),
    "3×64³, 32": lean((64, 64, 64), 3, 32),
    "3×64³, 16, instance norm": lean((64, 64, 64), 3, 16, "instance"),
    "3×64³, 16, group norm": lean((64, 64, 64), 3, 16, "group"),
    "2×16×160×160 of 3.6×0.6×0.6 mm, 16": lean((16, 160, 160), 2, 16, spacing=FLAT),
    "4×64³, 8": lean((64, 64, 64), 4, 8),
    "the paper's, 3×64³": paper(3),
    "the paper's, 1×64³": paper(1),
    "2×80³, 24": lean((80, 80, 80), 2, 24),
    "held out: 4×32×96×96, 16": lean((32, 96, 96), 4, 16),
    "held out: 2×112×96×128, 12": lean((112, 96, 128), 2, 12),
    "held out: 6×48³, 20": lean((48, 48, 48), 6, 20),
    "held out: 2×64×64×64, 48": lean((64, 64, 64), 2, 48),
}


@pytest.mark.parametrize("name", PLANS)
def test_memory_is_within_15_percent_of_the_predicted(benchmark: BenchmarkFixture, name: str) -> None:
    plan = PLANS[name]
    budget = Budget(device="cpu", memory_gib=22.0, bfloat16=has_fast_bfloat16("cpu"))
    measured = benchmark.pedantic(measure_step, args=(plan, plan.crop_size, 1), rounds=1)
    predicted = step_gib(plan, budget)
    assert measured is not None
    benchmark.extra_info |= {"predicted_gib": round(predicted, 3), "measured_gib": round(measured.gib, 3)}
    assert predicted == pytest.approx(measured.gib, rel=0.15)
