"""The rules that make a plan of a fingerprint; one pure function each, explained in docs/method.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.grid import Triple, Voxels
from autoseg.plan import Intensity, Stage
from autoseg.planning.fingerprint import ChannelFingerprint, OrganFingerprint

FACTORS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0, 64.0)
COVER = 0.5  # a crop sees at least this share of the median volume's length on each axis
SMALLEST_EDGE = 4  # voxels that the deepest level keeps on each axis
SMALLEST_CROP = (1, 4, 4)  # voxels (Z, Y, X); a norm over a single voxel would have no deviation
MOST_LEVELS = 6
EVEN_ENOUGH = 2.0  # an axis joins in pooling while the others are not finer than this factor
CPU_STEP_VOXELS = 790_000  # crop voxels x batch of one step; two CPU cores do it in under a second (16 features)
CPU_CROPS = 3  # crops of a step on a CPU, where the volume is not smaller
GPU_SHARE = 0.85  # of the GPU's memory that a step may take; the rest is CUDA's context and fragmentation
CPU_SHARE = 0.5  # of the free memory


@dataclass(frozen=True, kw_only=True)
class WorkingGrid:
    """What the network works on."""

    factor: float  # by which the finest axis is coarsened
    spacing_mm: Triple  # (Z, Y, X)
    shape: Voxels  # of the median volume (Z, Y, X)


def working_grids(spacing_mm: Triple, shape: Voxels) -> tuple[WorkingGrid, ...]:
    """Return the working grids to choose from, finest first.

    Coarsening by f gives every axis at least f times the finest spacing: the fine axes are coarsened first, which
    evens out anisotropic voxels.

    Args:
        spacing_mm: Median spacing (Z, Y, X).
        shape: Median voxels (Z, Y, X).

    >>> [g.spacing_mm for g in working_grids((5.0, 0.7, 0.7), (40, 512, 512)) if g.factor == 4.0]
    [(5.0, 2.8, 2.8)]
    """
    grids = []
    for factor in FACTORS:
        least = factor * min(spacing_mm)
        z, y, x = (max(s, least) for s in spacing_mm)
        sizes = (max(1, round(n * old / new)) for n, old, new in zip(shape, spacing_mm, (z, y, x), strict=True))
        grids.append(WorkingGrid(factor=factor, spacing_mm=(z, y, x), shape=(next(sizes), next(sizes), next(sizes))))
    return tuple(grids)


def poolings(shape: Voxels, spacing_mm: Triple) -> tuple[Voxels, ...]:
    """Return the pooling that leads to each level below the first.

    An axis is pooled while its half keeps SMALLEST_EDGE voxels, and only when it is not more than EVEN_ENOUGH times
    coarser than the finest axis that is still pooled, so that voxels become even (as nnU-Net, Isensee et al. 2021).

    >>> poolings((36, 50, 35), (1.0, 1.0, 1.0))
    ((2, 2, 2), (2, 2, 2), (2, 2, 2))
    >>> poolings((20, 320, 320), (3.6, 0.6, 0.6))[:3]
    ((1, 2, 2), (1, 2, 2), (2, 2, 2))
    """
    size, spacing = [float(n) for n in shape], list(spacing_mm)
    found: list[Voxels] = []
    while len(found) < MOST_LEVELS - 1:
        able = [n / 2 >= SMALLEST_EDGE for n in size]
        if not any(able):
            break
        finest = min(s for s, ok in zip(spacing, able, strict=True) if ok)
        steps = [2 if ok and s < EVEN_ENOUGH * finest * 1.001 else 1 for ok, s in zip(able, spacing, strict=True)]
        size = [n / p for n, p in zip(size, steps, strict=True)]
        spacing = [s * p for s, p in zip(spacing, steps, strict=True)]
        found.append((steps[0], steps[1], steps[2]))
    return tuple(found) or ((1, 1, 1),)


def stages(steps: Sequence[Voxels], spacing_mm: Triple, base: int, widest: int) -> tuple[Stage, ...]:
    """Return the levels of a lean U-Net: `base` features doubling downwards to at most `widest`.

    A kernel is flat on an axis that is still EVEN_ENOUGH times coarser than the finest.
    """
    found = []
    spacing = list(spacing_mm)
    for level, step in enumerate([(1, 1, 1), *steps]):
        spacing = [s * p for s, p in zip(spacing, step, strict=True)]
        z, y, x = (1 if s > EVEN_ENOUGH * min(spacing) * 1.001 else 3 for s in spacing)
        width = min(base * 2**level, widest)
        found.append(Stage(features=(width, width), kernel=(z, y, x), pooling=step))
    return tuple(found)


def crop_for(shape: Voxels, voxels: float) -> Voxels:
    """Return the crop with the proportions of a volume and at most about `voxels` voxels.

    Never larger than the volume, but at least SMALLEST_CROP.
    """
    scale = min(1.0, (voxels / math.prod(shape)) ** (1 / 3))
    z, y, x = (max(least, round(n * scale)) for n, least in zip(shape, SMALLEST_CROP, strict=True))
    return z, y, x


def divisible(size: Voxels, steps: Sequence[Voxels], whole: Voxels) -> Voxels:
    """Return the crop nearest to `size` that the poolings divide; up where it takes the whole volume's axis.

    Args:
        size: Wanted crop (Z, Y, X).
        steps: From `poolings`.
        whole: The median volume (Z, Y, X).

    >>> divisible((36, 50, 35), ((2, 2, 2), (2, 2, 2), (2, 2, 2)), (36, 50, 35))
    (40, 56, 40)
    >>> divisible((66, 50, 78), ((2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 1, 2)), (90, 68, 106))
    (64, 48, 80)
    """
    found = []
    for axis, (n, all_of_it) in enumerate(zip(size, whole, strict=True)):
        divisor = math.prod(step[axis] for step in steps)
        found.append(max(1, math.ceil(n / divisor) if n >= all_of_it else round(n / divisor)) * divisor)
    z, y, x = found
    return z, y, x


def covers_enough(crop: Voxels, grid: WorkingGrid) -> bool:
    """Return whether a crop sees COVER of the median volume on every axis."""
    return all(c >= COVER * n for c, n in zip(crop, grid.shape, strict=True))


def batch_for(crop: Voxels, step_voxels: float, cases: int) -> int:
    """Return the batch: as many crops as the step's voxels allow, at least 2, at most a tenth of the cases or 2."""
    most = max(2, cases // 10)
    return max(1, min(cases, max(2, min(most, int(step_voxels / math.prod(crop))))))


def intensity(channel: ChannelFingerprint) -> Intensity:
    """Return how a channel is normalised: CT by the dataset's organs, anything else by each image."""
    if channel.ct:
        return Intensity(kind="ct", low=channel.low, high=channel.high, mean=channel.mean, std=channel.std)
    return Intensity(kind="per-image", low=0.5, high=99.5)


def class_weights(organs: Sequence[OrganFingerprint]) -> tuple[float, ...]:
    """Return the cross-entropy's weight of each class, background first: share of the voxels to the power -1/2.

    Scaled so that the mean over voxels is 1. Without weights small organs stay unlearnt for hundreds of iterations
    (docs/experiments.md).
    """
    shares = [max(organ.mean_share, 1e-6) for organ in organs]
    shares = [max(1e-6, 1.0 - sum(shares)), *shares]
    raw = [share**-0.5 for share in shares]
    scale = sum(share * weight for share, weight in zip(shares, raw, strict=True))
    return tuple(round(weight / scale, 4) for weight in raw)
