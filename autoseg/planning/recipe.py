"""The default recipe: a whole plan from the dataset's numbers, a working grid and a crop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.imaging.grid import Grid, Triple, Voxels, working_shape
from autoseg.labels import Label
from autoseg.plan import AugmentationPlan, Intensity, LossPlan, NetworkPlan, OptimiserPlan, Plan
from autoseg.planning import rules
from autoseg.planning.budget import Budget
from autoseg.planning.rules import WorkingGrid

GPU_ITERATIONS = 50_000  # Roth et al. 2018
CPU_TRAINING_S = 36 * 60.0  # a CPU plan's iterations are those that fit
MANY_ITERATIONS = 2_000  # where fewer fit the time, a CPU's step gets fewer crops
ENOUGH_ITERATIONS = 400  # where fewer fit even then, it gets fewer voxels
CPU_ITERATIONS = 2_000  # until the device was measured
LEARNING_RATE, SHORT_LEARNING_RATE = 2e-3, 4e-3  # the second where there are at most SHORT_ITERATIONS
SHORT_ITERATIONS = 1_000  # measured at 540 and 800, on a CPU (docs/experiments.md)
MUON_ITERATIONS = 5_000  # at most; longer trainings keep AdamW, as none was tried with Muon
BASE_FEATURES = {"cpu": 16, "cuda": 32, "mps": 32}  # of the first level; 32 is the paper's
AXES: tuple[Literal["z", "y", "x"], ...] = ("z", "y", "x")
PROBABILITY = Intensity(kind="probability", low=0.0, high=1.0)  # of an organ by the first stage
WIDEST = 320  # features; nnU-Net (Isensee et al. 2021)


def default_plan(
    fingerprint: Fingerprint,
    grid: WorkingGrid,
    crop: Voxels,
    steps: Sequence[Voxels],
    batch: int,
    budget: Budget,
    seed: int,
) -> Plan:
    """Return the default plan on a grid.

    Args:
        fingerprint: The dataset in numbers.
        grid: Working grid.
        crop: Voxels (Z, Y, X), divisible by the poolings.
        steps: The poolings, one for each level below the first.
        batch: Crops of a step.
        budget: Device, which decides width and iterations.
        seed: Of split, weights and crops.
    """
    iterations = CPU_ITERATIONS if budget.device == "cpu" else GPU_ITERATIONS
    return Plan(
        name=fingerprint.name,
        channels=tuple(c.name for c in fingerprint.channels),
        labels=tuple(Label(value=o.value, name=o.name, names=o.names or ()) for o in fingerprint.organs),
        regions=fingerprint.regions,
        ignored=fingerprint.ignored,
        region_parts=fingerprint.regions is not None,
        downsampling=ratio(grid.spacing_mm, fingerprint.median_spacing_mm),
        spacing_mm=grid.spacing_mm,
        crop_size=crop,
        flat_axis=None if grid.flat is None else AXES[grid.flat],
        batch_size=batch,
        iterations=iterations,
        learning_rate=learning_rate_of(iterations),
        seed=seed,
        organ_share=0.7,
        device=budget.device,
        intensity=tuple(rules.intensity(c) for c in fingerprint.channels),
        network=_network(steps, grid, budget),
        augmentation=_augmentation([n for axis, n in enumerate(crop) if axis != grid.flat]),
        loss=_loss(fingerprint),
        optimiser=_optimiser(iterations),
        tile_depth=crop[0],
    )


def learning_rate_of(iterations: int) -> float:
    """Return the learning rate of a derived plan: a short training learns more at a higher one."""
    return SHORT_LEARNING_RATE if iterations <= SHORT_ITERATIONS else LEARNING_RATE


def optimiser_of(iterations: int) -> Literal["muon", "adamw"]:
    """Return the name of a derived plan's optimiser: Muon learns the most in a short training."""
    return "muon" if iterations <= MUON_ITERATIONS else "adamw"


def optimiser_in_words(plan: Plan, derived: Collection[str]) -> str:
    """Return optimiser, rate and schedule; of those keys that are derived, what a longer training would have."""
    name, rate = {"adam": "Adam", "adamw": "AdamW", "muon": "Muon"}[plan.optimiser.name], f"{plan.learning_rate:g}"
    if "optimiser" in derived and plan.optimiser.name == "muon" and plan.iterations <= MUON_ITERATIONS:
        name += f" (AdamW where there are more than {MUON_ITERATIONS})"
    if "learning_rate" in derived and plan.learning_rate == SHORT_LEARNING_RATE and plan.iterations <= SHORT_ITERATIONS:
        rate += f", twice that of more than {SHORT_ITERATIONS} iterations"
    return f"{name}, learning rate {rate} ({plan.optimiser.schedule})"


def ratio(new: Triple, old: Triple) -> Triple:
    """Return the downsampling factors (Z, Y, X) from one spacing to another."""
    z, y, x = (round(n / o, 4) for n, o in zip(new, old, strict=True))
    return z, y, x


def working_median(plan: Plan, fingerprint: Fingerprint) -> Voxels:
    """Return the size of the median volume on the plan's working grid."""
    median = Grid(shape=fingerprint.median_shape, spacing_mm=fingerprint.median_spacing_mm)
    return working_shape(median, plan.spacing_mm, plan.downsampling, plan.flat)


def grid_of(plan: Plan, fingerprint: Fingerprint) -> WorkingGrid:
    """Return the working grid of a plan for the median volume."""
    z, y, x = plan.spacing_mm or (
        f * mm for f, mm in zip(plan.downsampling, fingerprint.median_spacing_mm, strict=True)
    )
    factor = min((z, y, x)) / min(fingerprint.median_spacing_mm)
    shape = working_median(plan, fingerprint)
    return WorkingGrid(factor=factor, spacing_mm=(z, y, x), shape=shape, flat=plan.flat)


def _network(steps: Sequence[Voxels], grid: WorkingGrid, budget: Budget) -> NetworkPlan:
    stages = rules.stages(steps, grid.spacing_mm, base=BASE_FEATURES[budget.device], widest=WIDEST, flat=grid.flat)
    return NetworkPlan(stages=stages, norm="batch", activation="leaky-relu", up="skip")


def _augmentation(crop: Sequence[int]) -> AugmentationPlan:
    return AugmentationPlan(
        rotation_deg=20.0,
        translation_voxels=round(0.1 * min(crop), 1),
        scaling=0.2,
        bspline_spacing_voxels=float(max(8, round(min(crop) / 3))),
        bspline_voxels=4.0,
        deformed_share=0.2,
        undeformed_end=0.1,
        brightness=0.1,
        contrast=0.2,
        noise=0.1,
    )


def _loss(fingerprint: Fingerprint) -> LossPlan:
    weights = rules.class_weights(fingerprint)
    partial = bool(fingerprint.partly)
    return LossPlan(kind="dice-ce", background=False, over="batch", weights=weights, partial=partial, fade_weights=True)


def _optimiser(iterations: int) -> OptimiserPlan:
    return OptimiserPlan(
        name=optimiser_of(iterations),
        schedule="cosine",
        warmup_iterations=50,
        weight_decay=1e-4,
        gradient_clip=12.0,
        averaging=0.99,
    )
