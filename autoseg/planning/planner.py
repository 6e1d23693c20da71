"""The planner: fingerprint and device in, plan out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from autoseg.errors import PlanError
from autoseg.grid import Triple, Voxels
from autoseg.network.device import DeviceName, has_fast_bfloat16
from autoseg.network.memory import training_bytes
from autoseg.plan import AugmentationPlan, Label, LossPlan, NetworkPlan, OptimiserPlan, Plan, parse_plan
from autoseg.planning import rules
from autoseg.planning.fingerprint import Fingerprint
from autoseg.planning.rules import WorkingGrid

GIB = 2**30
GPU_ITERATIONS = 50_000  # Roth et al. 2018
CPU_ITERATIONS = 2_000  # until the device was measured
OF_THE_DATA = ("name", "channels", "labels", "intensity", "seed")  # keys that no preset decides


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a training step may use."""

    device: DeviceName
    memory_gib: float  # of the GPU, or the memory that machine and cgroup leave free
    bfloat16: bool

    @property
    def step_gib(self) -> float:
        """What a training step may take of it."""
        return self.memory_gib * (rules.CPU_SHARE if self.device == "cpu" else rules.GPU_SHARE)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A plan and what else was considered."""

    plan: Plan
    grids: tuple[WorkingGrid, ...]  # finest first
    chosen: WorkingGrid | None  # None under a preset that divides every image
    step_gib: float  # predicted memory of a training step
    changed: tuple[str, ...] = ()  # keys that the user set


def derive_plan(found: Fingerprint, budget: Budget, seed: int) -> Decision:
    """Derive downsampling factor, crop size, batch size and network.

    The finest working grid whose crop, as large as the budget allows, sees enough of the body is taken.

    Raises:
        PlanError: If not even the coarsest grid fits the budget.
    """
    grids = rules.working_grids(found.median_spacing_mm, found.median_shape)
    for grid in grids:
        crop = _largest_crop(found, grid, budget, seed)
        if crop is not None and rules.covers_enough(crop, grid):
            plan = _plan(found, grid, crop, budget, seed)
            plan = _with_fuller_batch(plan, found, budget)
            return Decision(plan=plan, grids=grids, chosen=grid, step_gib=step_gib(plan, budget))
    raise PlanError(
        f"{budget.memory_gib:.1f} GiB are too little even at a downsampling of {rules.FACTORS[-1]:g}; "
        "give more with --gpu-memory, or take a smaller network with --preset"
    )


def preset_plan(found: Fingerprint, budget: Budget, preset: Mapping[str, Any], seed: int, source: str) -> Decision:
    """Return the plan of a preset: all its settings, with name, channels, labels and intensities of the data.

    Raises:
        PlanError: If the preset does not make a valid plan.
    """
    own = {
        "name": found.name,
        "channels": [c.name for c in found.channels],
        "labels": [{"value": o.value, "name": o.name} for o in found.organs],
        "intensity": [rules.intensity(c).model_dump(mode="json") for c in found.channels],
    }
    settings = {key: value for key, value in preset.items() if key not in OF_THE_DATA}
    tree = {"iterations": GPU_ITERATIONS, **settings, **own, "seed": seed, "device": budget.device}
    plan = parse_plan(json.dumps(tree), source)
    grids = rules.working_grids(found.median_spacing_mm, found.median_shape)
    return Decision(plan=plan, grids=grids, chosen=None, step_gib=step_gib(plan, budget))


def load_preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset, by the name of one that ships or by its file.

    Raises:
        PlanError: If there is no such preset or it is not JSON.
    """
    file = Path(name)
    try:
        if file.suffix == ".json":
            text = file.read_text(encoding="utf-8")
        else:
            text = (files("autoseg_plans") / f"{name}.json").read_text(encoding="utf-8")
        settings = json.loads(text)
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"--preset {name}: {error}; presets: {', '.join(preset_names())}, or a plan file") from error
    if not isinstance(settings, dict):
        raise PlanError(f"--preset {name}: not a plan; presets: {', '.join(preset_names())}")
    return settings


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets that ship."""
    return tuple(
        sorted(f.name.removesuffix(".json") for f in files("autoseg_plans").iterdir() if f.name.endswith(".json"))
    )


def _plan(found: Fingerprint, grid: WorkingGrid, crop: Voxels, budget: Budget, seed: int) -> Plan:
    steps = rules.poolings(crop, grid.spacing_mm)
    size = rules.divisible(crop, steps, grid.shape)
    network = NetworkPlan(
        stages=rules.stages(steps, grid.spacing_mm, base=_base(budget), widest=320),
        norm="batch",
        activation="leaky-relu",
        up="skip",
    )
    return Plan(
        name=found.name,
        channels=tuple(c.name for c in found.channels),
        labels=tuple(Label(value=o.value, name=o.name) for o in found.organs),
        downsampling=ratio(grid.spacing_mm, found.median_spacing_mm),
        spacing_mm=grid.spacing_mm,
        crop_size=size,
        batch_size=rules.batch_for(size, rules.CPU_STEP_VOXELS if budget.device == "cpu" else 0, found.cases),
        iterations=CPU_ITERATIONS if budget.device == "cpu" else GPU_ITERATIONS,
        learning_rate=2e-3,
        seed=seed,
        organ_share=0.7,
        device=budget.device,
        intensity=tuple(rules.intensity(c) for c in found.channels),
        network=network,
        augmentation=_augmentation(size),
        loss=LossPlan(
            kind="dice-ce",
            background=False,
            over="batch",
            weights=rules.class_weights(found.organs),
            fade_weights=True,
        ),
        optimiser=OptimiserPlan(
            name="adamw",
            schedule="cosine",
            warmup_iterations=50,
            weight_decay=1e-4,
            gradient_clip=12.0,
            averaging=0.99,
        ),
        tile_depth=size[0],
    )


def _augmentation(crop: Voxels) -> AugmentationPlan:
    return AugmentationPlan(
        rotation_deg=20.0,
        translation_voxels=round(0.1 * min(crop), 1),
        scaling=0.2,
        bspline_spacing_voxels=float(max(8, round(min(crop) / 3))),
        bspline_voxels=4.0,
        brightness=0.1,
        contrast=0.2,
        noise=0.1,
    )


def _largest_crop(found: Fingerprint, grid: WorkingGrid, budget: Budget, seed: int) -> Voxels | None:
    """Return the largest crop of a grid that fits the budget with at least two crops a batch."""
    if budget.device == "cpu":
        crop = rules.crop_for(grid.shape, rules.CPU_STEP_VOXELS / rules.CPU_CROPS)
        return crop if _fits(_plan(found, grid, crop, budget, seed), budget) else None
    for share in (1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01):
        crop = rules.crop_for(grid.shape, share * math.prod(grid.shape))
        if not rules.covers_enough(crop, grid):
            return None
        if _fits(_plan(found, grid, crop, budget, seed), budget):
            return crop
    return None


def _with_fuller_batch(plan: Plan, found: Fingerprint, budget: Budget) -> Plan:
    """Return the plan with the batch grown while memory allows, on a GPU; at most a tenth of the cases."""
    if budget.device == "cpu":
        return plan
    for batch in range(plan.batch_size + 1, max(2, min(found.cases // 10, 12)) + 1):
        larger = plan.model_copy(update={"batch_size": batch})
        if not _fits(larger, budget):
            break
        plan = larger
    return plan


def _fits(plan: Plan, budget: Budget) -> bool:
    return step_gib(plan, budget) <= budget.step_gib


def step_gib(plan: Plan, budget: Budget) -> float:
    """Return the predicted memory of a training step in GiB."""
    return training_bytes(plan, budget.bfloat16) / GIB


def _base(budget: Budget) -> int:
    return 16 if budget.device == "cpu" else 32


def ratio(new: Triple, old: Triple) -> Triple:
    """Return the downsampling factors (Z, Y, X) from one spacing to another."""
    z, y, x = (round(n / o, 4) for n, o in zip(new, old, strict=True))
    return z, y, x


def detect_budget(device: DeviceName, gpu_memory_gib: float | None, free_gib: float) -> Budget:
    """Return the budget of a device.

    Args:
        device: Where training will run, if `gpu_memory_gib` does not say a GPU.
        gpu_memory_gib: Memory of the GPU to plan for; None: of the one that is there.
        free_gib: Free memory of this machine.

    Raises:
        PlanError: If the memory is not positive.
    """
    if gpu_memory_gib is not None:
        if not gpu_memory_gib > 0:
            raise PlanError(f"--gpu-memory {gpu_memory_gib:g}: must be positive, in GiB")
        return Budget(device="cuda", memory_gib=gpu_memory_gib, bfloat16=True)
    if device == "cuda":
        import torch

        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        return Budget(device="cuda", memory_gib=memory, bfloat16=has_fast_bfloat16("cuda"))
    return Budget(device=device, memory_gib=free_gib, bfloat16=has_fast_bfloat16(device))
