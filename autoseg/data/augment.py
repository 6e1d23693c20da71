"""Augmentation as batchgenerators transforms: one coordinate map and one resampling for each crop.

B-spline deformation, rotation, scaling and translation are composed into one map from the crop's voxels to those of
the cached volume, which is sampled once: the image linearly, the label map by its nearest voxel (Roth et al. 2018,
section 2.2; the composition is ours).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from batchgenerators.transforms.abstract_transforms import AbstractTransform, Compose
from torch import Tensor

from autoseg.data.cutting import CropRequest, cut, sample
from autoseg.data.intensity import intensity_changes
from autoseg.data.slots import ALIGNED
from autoseg.imaging.grid import Triple, Voxels
from autoseg.network.device import runs_bfloat16
from autoseg.plan import AugmentationPlan, Plan


class SpatialCrop(AbstractTransform):  # type: ignore[misc]
    """Turns crop requests into deformed crops: `data` float32 (B, C, Z, Y, X) and `seg` uint8 (B, 1, Z, Y, X)."""

    def __init__(self, plan: Plan) -> None:
        """Keep the settings that the crops need."""
        self.size: Voxels = plan.crop_size
        self.augmentation, self.flat = plan.augmentation, plan.flat
        self.pad = tuple(how.pad_value for how in plan.intensity)

    def __call__(self, requests: list[CropRequest], **rest: Any) -> dict[str, Any]:
        """Sample every requested crop; draws from numpy's global generator, which `Seeded` has set."""
        images, labels = [], []
        for request in requests:
            if request.deformed and self.augmentation.is_spatial:
                grid = coordinates(self.size, request.case.working.spacing_mm, self.augmentation, self.flat)
                image, label = sample(request, grid, self.pad)
            else:
                flips = tuple(1 + axis for axis in draw_flips(self.augmentation))
                image, label = cut(request, self.size, self.pad)
                image, label = np.flip(image, flips), np.flip(label, flips)
            images.append(image)
            labels.append(label)
        return {"data": np.stack(images), "seg": np.stack(labels), "keys": [r.case.id for r in requests], **rest}


class Seeded(AbstractTransform):  # type: ignore[misc]
    """Runs transforms on one crop after another, each with numpy's and Python's global generators set from its seed.

    batchgenerators draws from both, and its workers seed only the first (seen in 0.25.5): without this, a crop would
    depend on the number of workers, and on the other crops of its batch.
    """

    def __init__(self, transforms: list[AbstractTransform], image_type: type[np.floating[Any]] = np.float32) -> None:
        """Compose `transforms`; the images they give get another type."""
        self.transform, self.image_type = Compose(transforms), image_type

    def __call__(self, requests: list[CropRequest], seeds: list[int]) -> dict[str, Any]:
        """Make the crops; `seeds`, one a crop, decide all randomness. The generators are left as they were."""
        crops = []
        for request, seed in zip(requests, seeds, strict=True):
            with seeded(seed):
                crops.append(self.transform(requests=[request]))
        joined = {key: np.concatenate([crop[key] for crop in crops]) for key in ("data", "seg")}
        joined["data"] = joined["data"].astype(self.image_type, copy=False)
        hidden = [request.case.hidden for request in requests]
        return joined | {"keys": [request.case.id for request in requests], "hidden": hidden}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set numpy's and Python's global generators from a seed; leave them as they were."""
    before = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])


def transforms(plan: Plan) -> Seeded:
    """Return the plan's augmentation as one transform."""
    changes = [transform for _, transform in intensity_changes(plan)]
    return Seeded([SpatialCrop(plan), *changes], image_type(plan))


def image_type(plan: Plan) -> type[np.floating[Any]]:
    """Return the type of a batch's images: half precision where a GPU computes in it, half of the bytes to move."""
    is_half = plan.device == "cuda" and runs_bfloat16(plan.device, plan.precision)
    return np.float16 if is_half else np.float32


def slot_bytes(plan: Plan, crops: int) -> int:
    """Return the bytes that some crops take in a slot: images and label maps."""
    of_voxel = len(plan.channels) * np.dtype(image_type(plan)).itemsize + 1
    return crops * math.prod(plan.crop_size) * of_voxel + ALIGNED


@dataclass(frozen=True, kw_only=True)
class SpatialMap:
    """Where the voxels of a crop come from: p to shift + matrix (p + field(p)), both relative to the crop's centre."""

    matrix: npt.NDArray[np.float32]  # (3, 3)
    shift: npt.NDArray[np.float32]  # (3,), voxels of the volume
    control: npt.NDArray[np.float32] | None = None  # points of the B-spline field, (3, Z, Y, X), in voxels


def coordinates(size: Voxels, spacing_mm: Triple, what: AugmentationPlan, flat: int | None = None) -> Tensor:
    """Draw a random map; return where each voxel of a crop comes from, relative to the crop's centre.

    Args:
        size: Voxels of the crop (Z, Y, X).
        spacing_mm: Of the volume; rotation is by true angles also where voxels are not cubes.
        what: Ranges of the random changes.
        flat: Axis along which nothing is moved or turned: a crop stays within its slice.

    Returns:
        Voxels of the volume, float32 (Z, Y, X, 3), last axis (z, y, x).
    """
    return offsets(size, draw_map(size, spacing_mm, what, flat), what.bspline_spacing_voxels, "cpu")


def draw_map(size: Voxels, spacing_mm: Triple, what: AugmentationPlan, flat: int | None = None) -> SpatialMap:
    """Draw a random map of a crop, as `coordinates` does."""
    spacing = np.array(spacing_mm)
    angles = np.deg2rad(np.random.uniform(-what.rotation_deg, what.rotation_deg, 3))
    turn = _rotation(angles if flat is None else np.where(np.arange(3) == flat, angles, 0.0))
    scale = np.random.uniform(1 - what.scaling, 1 + what.scaling)
    flips = draw_flips(what)
    sides = [-1.0 if axis in flips else 1.0 for axis in range(3)]
    matrix = np.diag(1 / spacing) @ turn @ np.diag(spacing * sides) * scale
    shift = np.random.uniform(-what.translation_voxels, what.translation_voxels, 3)
    control = _control_points(size, what) if what.bspline_voxels else None
    if flat is not None:
        shift[flat] = 0.0
    if flat is not None and control is not None:
        control[flat] = 0.0
    return SpatialMap(matrix=matrix.astype(np.float32), shift=shift.astype(np.float32), control=control)


def draw_flips(what: AugmentationPlan) -> tuple[int, ...]:
    """Draw the axes of a crop (Z, Y, X) along which it is mirrored: each that the plan names, half of the time."""
    named = [axis for axis, name in enumerate("zyx") if name in what.mirrored]
    return tuple(axis for axis in named if np.random.choice((-1.0, 1.0)) < 0)


def offsets(size: Voxels, where: SpatialMap, bspline_spacing_voxels: float, device: str) -> Tensor:
    """Return where a map takes each voxel of a crop, as `coordinates` does, computed on a device."""
    base = _centred_grid(size, device)
    if where.control is not None:
        base = base + _bspline_field(size, bspline_spacing_voxels, torch.from_numpy(where.control).to(device))
    shift, matrix = (torch.from_numpy(part).to(device) for part in (where.shift, where.matrix))
    flat = torch.addmm(shift[None], base.reshape(-1, 3), matrix.T)
    return flat.reshape(*size, 3)


def _rotation(angles_rad: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    turn = np.eye(3)
    for axis, angle in enumerate(angles_rad):
        i, j = (k for k in range(3) if k != axis)
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    return turn


def _control_points(size: Voxels, what: AugmentationPlan) -> npt.NDArray[np.float32]:
    """Draw the displacements of the control points, (3, Z, Y, X) in voxels."""
    knots = tuple(_bspline_basis(n, what.bspline_spacing_voxels).shape[1] for n in size)
    drawn = np.random.uniform(-what.bspline_voxels, what.bspline_voxels, (3, *knots))
    return np.asarray(drawn, dtype=np.float32)


def _bspline_field(size: Voxels, spacing_voxels: float, control: Tensor) -> Tensor:
    """Return the cubic B-spline field of control points, (Z, Y, X, 3) in voxels."""
    basis = [_bspline_basis(n, spacing_voxels, str(control.device)) for n in size]
    along_z = torch.einsum("az,czyx->aycx", basis[0], control).flatten(2)  # (Z, ky, 3 kx)
    along_y = torch.matmul(basis[1], along_z).reshape(size[0], size[1], 3, control.shape[-1])
    return torch.einsum("abcx,dx->abdc", along_y, basis[2])


@lru_cache(maxsize=16)
def _bspline_basis(size: int, spacing_voxels: float, device: str = "cpu") -> Tensor:
    """Return the uniform cubic B-spline basis, (size, control points); the knots are centred on the crop."""
    intervals = max(1, int(np.ceil((size - 1) / spacing_voxels)))
    at = (np.arange(size) - (size - 1) / 2) / spacing_voxels + intervals / 2
    knot = np.clip(np.floor(at).astype(int), 0, intervals - 1)
    u = at - knot
    pieces: list[Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = [
        lambda t: (1 - t) ** 3 / 6,
        lambda t: (3 * t**3 - 6 * t**2 + 4) / 6,
        lambda t: (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        lambda t: t**3 / 6,
    ]
    basis = np.zeros((size, intervals + 3))
    for offset, piece in enumerate(pieces):
        basis[np.arange(size), knot + offset] = piece(u)
    return _tensor(basis).to(device)


@lru_cache(maxsize=4)
def _centred_grid(size: Voxels, device: str) -> Tensor:
    axes = [torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _tensor(values: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
