"""Crops of cached volumes: sampled where a map takes their voxels, or cut out as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from autoseg.data.cache import CachedCase
from autoseg.imaging.grid import Triple, Voxels


@dataclass(frozen=True, kw_only=True)
class CropRequest:
    """A crop to make: its case, and where in it."""

    case: CachedCase
    centre: Triple  # voxels of the cached volume (Z, Y, X)
    deformed: bool = True  # else the crop's voxels are the volume's own


def sample(
    request: CropRequest, offsets: Tensor, pad: tuple[float, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Read the part of a cached case that a map touches, and sample it once.

    Args:
        request: Case and centre.
        offsets: From `coordinates`, (Z, Y, X, 3).
        pad: Intensity outside the volume, one a channel.

    Returns:
        Image float32 (C, Z, Y, X), linear; label uint8 (1, Z, Y, X), nearest voxel, background outside the volume.
    """
    points = offsets + torch.from_numpy(np.array(request.centre, dtype=np.float32))
    flat = points.reshape(-1, 3)
    shape = request.case.working.shape
    low = flat.amin(0).floor().long().tolist()
    high = (flat.amax(0).ceil().long() + 1).tolist()
    box = tuple(
        slice(min(max(a - 1, 0), n - 1), max(min(b + 1, n), 1)) for a, b, n in zip(low, high, shape, strict=True)
    )
    image = torch.from_numpy(request.case.image()[(slice(None), *box)].astype(np.float32))
    label = torch.from_numpy(request.case.label()[box].astype(np.float32))
    crop, classes = resample(image, label, tuple(b.start for b in box), points, pad)
    return crop.numpy(), classes.numpy().astype(np.uint8)


def resample(
    image: Tensor, label: Tensor, start: Sequence[int], points: Tensor, pad: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Sample a part of a volume at points: the image linearly, the label map by its nearest voxel.

    Args:
        image: Part of it, float32 (C, z, y, x).
        label: The same part, float32 (z, y, x).
        start: Where in the volume the part begins; it holds all that the points touch of the volume.
        points: Voxels of the volume, (Z, Y, X, 3).
        pad: Intensity outside the volume, one a channel.

    Returns:
        Image (C, Z, Y, X); label (1, Z, Y, X), background outside the volume.
    """
    first = torch.tensor([float(n) for n in start]).to(points.device)
    extent = torch.tensor([float(n) for n in label.shape]).to(points.device)
    grid = ((points - first + 0.5) * (2.0 / extent) - 1.0).flip(-1)[None]
    outside = torch.tensor(pad).to(points.device)[:, None, None, None]
    crop = grid_sample((image - outside)[None], grid, "bilinear", "zeros", align_corners=False)[0] + outside
    return crop, grid_sample(label[None, None], grid, "nearest", "zeros", align_corners=False)[0]


def cut(
    request: CropRequest, size: Voxels, pad: tuple[float, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Cut a crop out of a cached case as it is: no voxel is interpolated, as in prediction.

    Args:
        request: Case and centre, from which the crop lies less than a voxel.
        size: Voxels (Z, Y, X).
        pad: Intensity outside the volume, one a channel.

    Returns:
        Image float32 (C, Z, Y, X); label uint8 (1, Z, Y, X), background outside the volume.
    """
    shape = request.case.working.shape
    starts = first_voxels(request, size)
    source = tuple(slice(max(0, s), min(whole, s + n)) for s, n, whole in zip(starts, size, shape, strict=True))
    target = tuple(slice(part.start - s, part.stop - s) for s, part in zip(starts, source, strict=True))
    image = np.zeros((len(pad), *size), dtype=np.float32) + np.array(pad, dtype=np.float32)[:, None, None, None]
    image[(slice(None), *target)] = request.case.image()[(slice(None), *source)]
    label = np.zeros(size, dtype=np.uint8)
    label[target] = request.case.label()[source]
    return image, label[None]


def first_voxels(request: CropRequest, size: Voxels) -> Voxels:
    """Return the first voxel (Z, Y, X) of a crop that is cut out as it is; negative where the volume is smaller.

    Centres lie anywhere between the crops at both ends: each of those crops, and each between, has the same part of
    that range, so that slices at the ends are cut out as often as others.
    """
    starts = []
    for centre, n, whole in zip(request.centre, size, request.case.working.shape, strict=True):
        start, last = centre - n / 2 + 0.5, whole - n
        inside = min(last, math.floor(start * (last + 1) / last)) if 0 <= start <= last and last > 0 else None
        starts.append(math.ceil(start - 0.5) if inside is None else inside)
    z, y, x = starts
    return z, y, x
