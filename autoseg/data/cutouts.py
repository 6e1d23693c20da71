"""Cut-outs: what a crop needs of its case and its random draws, for a device that makes the crop of them.

Workers draw from the same generators in the same order as where they make the crops themselves, so that the crops are
the same but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from batchgenerators.transforms.abstract_transforms import AbstractTransform
from torch import Tensor

from autoseg.data.augment import SpatialMap, draw_flips, draw_map, image_type, offsets, seeded
from autoseg.data.cache import CachedCase
from autoseg.data.cutting import CropRequest, first_voxels, resample
from autoseg.data.intensity import draw_values, intensity_changes
from autoseg.data.slots import ALIGNED
from autoseg.imaging.grid import Triple, Voxels
from autoseg.plan import Plan

MARGIN = 2  # voxels that a cut-out has more on each side than its map can reach
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a cut-out lies in its volume, and where the voxels of its crop come from."""

    start: Voxels  # the cut-out's first voxel
    centre: Triple  # of the crop, voxels of the volume
    where: SpatialMap | None  # None: the crop's voxels are the volume's own
    first: Voxels = (0, 0, 0)  # the first voxel of such a crop
    flips: tuple[int, ...] = ()  # axes along which it is mirrored


class CutOut(AbstractTransform):  # type: ignore[misc]
    """Turns crop requests into `places`, and of crop n the arrays `image.n`, `label.n` and, by change m, `values.n.m`.

    The image and the label map are the cache's, float16 (C, z, y, x) and uint8 (z, y, x).
    """

    def __init__(self, plan: Plan) -> None:
        """Keep the plan."""
        self.plan, self.image_type = plan, image_type(plan)

    def __call__(self, requests: list[CropRequest], seeds: list[int]) -> dict[str, Any]:
        """Cut out and draw; `seeds`, one a crop, decide all randomness. The generators are left as they were."""
        plan, places = self.plan, []
        arrays: dict[str, Any] = {}
        for n, (request, seed) in enumerate(zip(requests, seeds, strict=True)):
            with seeded(seed):
                is_moved = request.deformed and plan.augmentation.is_spatial
                spacing_mm = request.case.working.spacing_mm
                where = draw_map(plan.crop_size, spacing_mm, plan.augmentation, plan.flat) if is_moved else None
                flips = () if is_moved else draw_flips(plan.augmentation)
                for m, (change, transform) in enumerate(intensity_changes(plan)):
                    values = draw_values(change, transform, len(plan.channels), plan.crop_size)
                    is_field = values.shape[1:] == plan.crop_size
                    arrays[f"values.{n}.{m}"] = values.astype(self.image_type if is_field else np.float32)
            box = _box(request, plan.crop_size, where)
            arrays[f"image.{n}"] = np.array(request.case.image()[(slice(None), *box)])
            arrays[f"label.{n}"] = np.array(request.case.label()[box])
            start = (box[0].start, box[1].start, box[2].start)
            first = first_voxels(request, plan.crop_size)
            places.append(Place(start=start, centre=request.centre, where=where, first=first, flips=flips))
        keys, hidden = ([r.case.id for r in requests], [r.case.hidden for r in requests])
        return arrays | {"places": places, "keys": keys, "hidden": hidden}


def crops_of(batch: dict[str, Any], plan: Plan, device: str) -> dict[str, Any]:
    """Return a batch of crops, as workers make them: `data` float32 (B, C, Z, Y, X), `seg` uint8 (B, 1, Z, Y, X).

    Args:
        batch: Of cut-outs; its arrays are arrays or tensors.
        plan: Of both.
        device: To work on.
    """
    images, labels = [], []
    for n, place in enumerate(batch["places"]):
        image, label = (torch.as_tensor(batch[f"{what}.{n}"]).to(device).float() for what in ("image", "label"))
        crop, classes = _crop(place, image, label, plan)
        for m, (change, _) in enumerate(intensity_changes(plan)):
            crop = change.apply(crop, torch.as_tensor(batch[f"values.{n}.{m}"]).to(device).float())
        images.append(crop)
        labels.append(classes.to(torch.uint8))
    about = {name: batch[name] for name in ("keys", "hidden")}
    return {"data": torch.stack(images), "seg": torch.stack(labels), **about}


def slot_bytes(plan: Plan, crops: int, cases: Sequence[CachedCase]) -> int:
    """Return the most bytes that some cut-outs take in a slot."""
    voxels = max(_most_voxels(plan, case) for case in cases)
    channels, changes = len(plan.channels), len(intensity_changes(plan))
    noise = channels * math.prod(plan.crop_size) * np.dtype(image_type(plan)).itemsize if plan.augmentation.noise else 0
    small = ALIGNED * (2 + changes) + ALIGNED * changes * channels
    return crops * (voxels * (2 * channels + 1) + noise + small)


def _crop(place: Place, image: Tensor, label: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    pad, size = tuple(how.pad_value for how in plan.intensity), plan.crop_size
    if place.where is not None:
        moved = offsets(size, place.where, plan.augmentation.bspline_spacing_voxels, str(image.device))
        points = moved + torch.tensor(place.centre).to(image.device)
        return resample(image, label, place.start, points, pad)
    target = tuple(slice(s - f, s - f + n) for s, f, n in zip(place.start, place.first, label.shape, strict=True))
    crop = torch.tensor(pad).to(image.device)[:, None, None, None].repeat(1, *size)
    classes = torch.zeros((1, *size), device=image.device)
    crop[(slice(None), *target)], classes[(slice(None), *target)] = image, label
    flips = [1 + axis for axis in place.flips]
    return crop.flip(flips), classes.flip(flips)


def _box(request: CropRequest, size: Voxels, where: SpatialMap | None) -> Box:
    """Return the part of the volume that a crop needs: all that its map may reach, without computing it."""
    if where is None:
        low = list(first_voxels(request, size))
        high = [a + n for a, n in zip(low, size, strict=True)]
    else:
        half = (np.array(size) - 1) / 2  # a spline stays within its control points
        if where.control is not None:
            half = half + np.abs(where.control).max(axis=(1, 2, 3))
        middle, reach = np.array(request.centre) + where.shift, np.abs(where.matrix) @ half
        low = [int(n) - MARGIN for n in np.floor(middle - reach)]
        high = [int(n) + MARGIN for n in np.ceil(middle + reach) + 1]
    z, y, x = (
        slice(min(max(a, 0), n - 1), max(min(b, n), 1))
        for a, b, n in zip(low, high, request.case.working.shape, strict=True)
    )
    return z, y, x


def _most_voxels(plan: Plan, case: CachedCase) -> int:
    """Return the most voxels that a cut-out of a case can have."""
    what, spacing = plan.augmentation, np.array(case.working.spacing_mm)
    half_mm = ((np.array(plan.crop_size) - 1) / 2 + what.bspline_voxels) * spacing
    sine = math.sin(math.radians(min(what.rotation_deg, 90.0)))
    off = min(1.0, sine * (1 + sine))  # no entry off a rotation's diagonal is larger, nor is a row longer than 1
    reach_mm = np.minimum(np.linalg.norm(half_mm), half_mm + off * (half_mm.sum() - half_mm))
    extents = np.ceil(2 * (1 + what.scaling) * reach_mm / spacing) + 2 * MARGIN + 2
    return math.prod(int(min(n, extent)) for n, extent in zip(case.working.shape, extents, strict=True))
