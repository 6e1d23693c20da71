"""The plans whose steps are measured on a GPU, and a batch for each."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import made

from autoseg.data.batches import Batch
from autoseg.imaging.grid import Triple, Voxels
from autoseg.labels import Label
from autoseg.plan import AugmentationPlan, Level, LossPlan, NetworkPlan, OptimiserPlan, Plan
from autoseg.planning import rules

ADAMW = OptimiserPlan(name="adamw", schedule="cosine", averaging=0.99, gradient_clip=12.0)
DICE_CE = LossPlan(kind="dice-ce", background=False, over="batch", weights=(1.0,) * 3, fade_weights=True)
PAPER = NetworkPlan(stages=tuple(Level(features=f) for f in ((32, 64), (64, 128), (128, 256), (256, 512))))
TINY = NetworkPlan(stages=tuple(Level(features=f) for f in ((4, 8), (8, 16))))
RECIPE = AugmentationPlan(rotation_deg=20, translation_voxels=20, bspline_voxels=4)  # the paper's
ORGANS = tuple(Label(value=n, name=f"organ {n}") for n in range(1, 8))  # eight classes, as the paper's
EVEN, FLAT = (1.0, 1.0, 1.0), (3.6, 0.6, 0.6)


def lean(
    crop: Voxels, batch: int, base: int = 32, norm: str = "batch", spacing: Triple = EVEN, channels: int = 1
) -> Plan:
    """Return a plan with the default network on a crop."""
    stages = rules.stages(rules.poolings(crop, spacing), spacing, base=base, widest=320)
    network = NetworkPlan.model_validate({"stages": stages, "norm": norm, "activation": "leaky-relu", "up": "skip"})
    names = tuple(f"c{n}" for n in range(channels))
    how = made.plan().intensity * channels
    return made.plan(
        crop_size=crop, batch_size=batch, network=network, optimiser=ADAMW, tile_depth=crop[0], channels=names,
        intensity=how, spacing_mm=spacing,
    )  # fmt: skip


def paper(batch: int) -> Plan:
    """Return a plan with the paper's network on 64³ crops, of two organs."""
    return made.plan(crop_size=(64, 64, 64), batch_size=batch, network=PAPER, tile_depth=64)


def recipe(size: int = 64, network: NetworkPlan = PAPER) -> Plan:
    """Return the paper's recipe: three crops of seven organs, turned, shifted and deformed."""
    crop = (size, size, size)
    how = {"tile_depth": size, "labels": ORGANS, "augmentation": RECIPE}
    return made.plan(crop_size=crop, batch_size=3, network=network, **how)


def fat(size: int = 128, base: int = 32) -> Plan:
    """Return a plan as one derived for a large GPU: large crops, Dice and cross-entropy."""
    return lean((size, size, size), 2, base).model_copy(update={"loss": DICE_CE})


MEMORY = {  # the telling ones first
    "the paper's, 3×64³": paper(3),
    "2×128³, 32": lean((128, 128, 128), 2),
    "8×40×56×40, 32": lean((40, 56, 40), 8),
    "3×64×48×80, 32": lean((64, 48, 80), 3),
    "the paper's, 12×64³": paper(12),
    **{f"2×96³, 32, {n} norm": lean((96, 96, 96), 2, 32, n) for n in ("instance", "group")},
    "2×160³, 32": lean((160, 160, 160), 2),
    "2×16×320×320 of 3.6×0.6×0.6 mm, 32": lean((16, 320, 320), 2, spacing=FLAT),
    "2×64×192×160, 32": lean((64, 192, 160), 2),
    "2×128³, 32, four channels": lean((128, 128, 128), 2, channels=4),
    "16×64³, 32": lean((64, 64, 64), 16),
    **{f"2×96³, {n}": lean((96, 96, 96), 2, n) for n in (8, 16, 24, 48)},
    **{f"the paper's, {n}×64³": paper(n) for n in (1, 6)},
    **{f"{n}×64³, 32": lean((64, 64, 64), n) for n in (1, 2, 4)},
    **{f"2×{n}³, 32": lean((n, n, n), 2) for n in (96, 192)},
    "2×256³, 16": lean((256, 256, 256), 2, 16),
}
SPEED = {"the paper's, 3×64³, 8 classes": recipe(), "8×40×56×40, 32": lean((40, 56, 40), 8), "2×128³, 32": fat()}
TOY_MEMORY = {
    "2×16³, 8": lean((16, 16, 16), 2, 8),
    "2×8×32×32 of 3.6×0.6×0.6 mm, 8": lean((8, 32, 32), 2, 8, spacing=FLAT),
}
TOY_SPEED = {"3×16³, 8 classes": recipe(16, TINY), "2×16³, 8": fat(16, 8)}


def batch_of(plan: Plan) -> Batch:
    """Return a batch of noise."""
    rng = np.random.default_rng(0)
    shape = (plan.batch_size, len(plan.channels), *plan.crop_size)
    label = rng.integers(0, plan.classes, (plan.batch_size, 1, *plan.crop_size), dtype=np.uint8)
    data, seg = torch.from_numpy(rng.normal(size=shape).astype(np.float32)), torch.from_numpy(label)
    return {"data": data, "seg": seg, "hidden": [()] * plan.batch_size}
