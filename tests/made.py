"""Tiny plans and cached cases that several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autoseg.data.cache import CachedCase, write_case
from autoseg.dataset.fingerprint import ChannelFingerprint, Fingerprint, OrganFingerprint
from autoseg.imaging.grid import Grid, Triple, Voxels
from autoseg.inference.upsample import Upsampler
from autoseg.labels import Label, LabelScheme
from autoseg.plan import AugmentationPlan, Intensity, Level, LossPlan, NetworkPlan, OptimiserPlan, Plan

LIVER = OrganFingerprint(
    value=1, name="liver", cases=1, median_ml=1, median_voxels=9, mean_share=0.01, median_extent_mm=(9, 9, 9)
)
CT = Intensity(kind="ct", low=-100.0, high=300.0, mean=100.0, std=50.0)  # pad value (-100 - 100) / 50 = -4
STILL = AugmentationPlan(rotation_deg=0, translation_voxels=0, bspline_voxels=0)


def plan(**changes: Any) -> Plan:
    """Return a plan of two organs, a network of about 1,000 parameters, crops of 8³, and no augmentation."""
    settings: dict[str, Any] = {
        "name": "tiny",
        "channels": ("CT",),
        "labels": (Label(value=1, name="liver"), Label(value=2, name="spleen")),
        "downsampling": (2, 2, 2),
        "spacing_mm": None,
        "crop_size": (8, 8, 8),
        "batch_size": 2,
        "iterations": 6,
        "learning_rate": 0.01,
        "organ_share": 0.5,
        "device": "cpu",
        "intensity": (CT,) * len(changes.get("channels", ("CT",))),
        "network": NetworkPlan(stages=(Level(features=(4, 4)), Level(features=(4, 8)))),
        "augmentation": STILL,
        "loss": LossPlan(kind="dice", background=True, over="image"),
        "optimiser": OptimiserPlan(name="adam", schedule="constant"),
        "tile_depth": 8,
    }
    return Plan(**(settings | changes))


def scheme(classes: int) -> LabelScheme:
    """Return a scheme of disjoint organs, whose values are their classes."""
    return LabelScheme(labels=tuple(Label(value=n, name=f"organ {n}") for n in range(1, classes)))


def fingerprint(
    shape: Voxels, spacing_mm: Triple, cases: int = 50, labels: int = 1, organ_mm: Triple | None = None
) -> Fingerprint:
    """Return the fingerprint of a CT cohort of one size, whose organs are as large as the volume or `organ_mm`."""
    z, y, x = organ_mm or (n * mm for n, mm in zip(shape, spacing_mm, strict=True))
    names = ["liver", *(f"organ {n}" for n in range(2, labels + 1))]
    changes = {"cases": cases, "median_extent_mm": (z, y, x), "mean_share": 0.01 if labels < 50 else 0.001}
    organs = [LIVER.model_copy(update={"value": n, "name": name} | changes) for n, name in enumerate(names, start=1)]
    return Fingerprint(
        name="data",
        cases=cases,
        median_shape=shape,
        smallest_shape=shape,
        largest_shape=shape,
        median_spacing_mm=spacing_mm,
        smallest_spacing_mm=spacing_mm,
        largest_spacing_mm=spacing_mm,
        foreground_extent_mm=(z, y, x),
        channels=(ChannelFingerprint(name="CT", ct=True, low=-100, high=200, mean=50, std=60),),
        organs=tuple(organs),
    )


def cached_case(
    folder: Path,
    case_id: str,
    image: npt.NDArray[np.floating[Any]],
    label: npt.NDArray[np.integer[Any]],
    spacing_mm: Triple = (1.0, 1.0, 1.0),
) -> CachedCase:
    """Write a case of image (C, Z, Y, X) and class indices (Z, Y, X) into a cache folder."""
    z, y, x = label.shape
    grid = Grid(shape=(z, y, x), spacing_mm=spacing_mm)
    case = CachedCase(
        id=case_id,
        folder=folder,
        patient=case_id,
        source_digest="made",
        plan_digest="made",
        grid=grid,
        stored=grid,
        working=grid,
    )
    return write_case(case, image, label.astype(np.uint8), seed=0)


def two_blocks(shape: Voxels, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Return an image (1, Z, Y, X) that is easy to segment, and its classes: one block of 1, one smaller of 2."""
    label = np.zeros(shape, dtype=np.uint8)
    z, y, x = (n // 4 for n in shape)
    label[z : 3 * z, y : 3 * y, x : 2 * x] = 1
    label[z : 2 * z, y : 2 * y, 2 * x : 3 * x] = 2
    noise = np.random.default_rng(seed).normal(0, 0.1, shape)
    return (2.0 * label - 1.5 + noise).astype(np.float32)[None], label


def easy_cases(folder: Path, count: int, shape: Voxels = (12, 12, 12)) -> tuple[CachedCase, ...]:
    """Write `count` cases of two blocks, with different noise."""
    return tuple(cached_case(folder, f"case{n}", *two_blocks(shape, seed=n)) for n in range(count))


def winning_class(probabilities: npt.NDArray[np.floating[Any]], shape: Voxels) -> npt.NDArray[np.uint8]:
    """Return the mask of `shape` that a prediction of `probabilities` (classes, Z, Y, X) gives."""
    z, y, x = probabilities.shape[1:]
    upsampler = Upsampler(scheme(len(probabilities)), (z, y, x), shape)
    upsampler.add(torch.from_numpy(np.asarray(probabilities, dtype=np.float32)))
    return upsampler.mask


def random_case(folder: Path, shape: Voxels, case_id: str = "random", spacing_mm: Triple = (1, 1, 1)) -> CachedCase:
    """Write a case of noise and random classes 0, 1, 2."""
    rng = np.random.default_rng(1)
    return cached_case(folder, case_id, rng.normal(size=(1, *shape)), rng.integers(0, 3, shape), spacing_mm)
