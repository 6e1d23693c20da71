"""The rules that make a plan of a fingerprint; one pure function each, explained in docs/method.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoseg.dataset.fingerprint import ChannelFingerprint, Fingerprint, OrganFingerprint
from autoseg.imaging.grid import Triple, Voxels
from autoseg.plan import Intensity, Level

FACTORS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0, 64.0)
COVER = 0.5  # a crop sees at least this share of the median volume's length on each axis …
AROUND = 2.0  # … or this many times the largest organ, and all organs together, where that is less
LEAST_COVER = 1 / 3  # instead of COVER, where the grid would cost an organ too much
BOX_COVER = 0.2  # of a box in which a second stage knows from the first where the organs are
CEILING = 0.9  # Dice; an organ that the grid alone brings below it is worth a finer grid
WORTH = 0.97  # Dice; where the grid leaves each organ this much, a finer one is worth nothing
SMALLEST_EDGE = 4  # voxels that the deepest level keeps on each axis
SMALLEST_CROP = (1, 4, 4)  # voxels (Z, Y, X); a norm over a single voxel would have no deviation
MOST_LEVELS = 6
EVEN_ENOUGH = 2.0  # an axis joins in pooling while the others are not finer than this factor
CPU_STEP_VOXELS = 790_000  # crop voxels x batch of one step; two CPU cores do it in under a second (16 features)
CPU_CROPS = 3  # crops of a step on a CPU, where the volume is not smaller
SHRINK = 0.96  # from one crop that is tried to the next, on each axis
CROPS = 60  # that are tried
LARGEST_BATCH = 12


@dataclass(frozen=True, kw_only=True)
class Sight:
    """How much of a volume a crop must see, and when a grid is fine enough."""

    cover: float = COVER  # share of the median volume's length on each axis
    least_cover: float = LEAST_COVER  # the same, for the sake of organs that the grid would cost a tenth
    enough: tuple[float, ...] | None = None  # Dice left of each organ, of which no finer grid is taken; None: no limit


ONE_STAGE = Sight()
FIRST_STAGE = Sight(least_cover=COVER)  # thin organs are the second one's
SECOND_STAGE = Sight(cover=BOX_COVER, least_cover=BOX_COVER)


@dataclass(frozen=True, kw_only=True)
class WorkingGrid:
    """What the network works on."""

    factor: float  # by which the finest axis is coarsened
    spacing_mm: Triple  # (Z, Y, X)
    shape: Voxels  # of the median volume (Z, Y, X)
    flat: int | None = None  # axis along which slices are seen one by one

    def is_finer_than(self, other: WorkingGrid) -> bool:
        """Return whether it gives a volume more voxels."""
        return math.prod(self.shape) > math.prod(other.shape)


def flat_axis(shape: Voxels, spacing_mm: Triple) -> int | None:
    """Return the axis along which slices are better seen one by one: there is one, or they are few and thick.

    Few are fewer than a pooling needs; thick ones are more than EVEN_ENOUGH times the finest voxel.

    >>> flat_axis((1, 256, 256), (1.0, 0.5, 0.5)), flat_axis((6, 256, 256), (8.0, 1.4, 1.4))
    (0, 0)
    >>> flat_axis((6, 256, 256), (1.0, 1.0, 1.0)), flat_axis((20, 320, 320), (3.6, 0.6, 0.6))
    (None, None)
    """
    for axis, (n, mm) in enumerate(zip(shape, spacing_mm, strict=True)):
        if n == 1 or (n < 2 * SMALLEST_EDGE and mm > EVEN_ENOUGH * min(spacing_mm) * 1.001):
            return axis
    return None


def working_grids(spacing_mm: Triple, shape: Voxels, flat: int | None = None) -> tuple[WorkingGrid, ...]:
    """Return the working grids to choose from, finest first.

    Coarsening by f gives every axis at least f times the finest spacing: the fine axes are coarsened first, which
    evens out anisotropic voxels.

    Args:
        spacing_mm: Median spacing (Z, Y, X).
        shape: Median voxels (Z, Y, X).
        flat: Axis along which slices are seen one by one: it stays as it is.

    >>> [g.spacing_mm for g in working_grids((5.0, 0.7, 0.7), (40, 512, 512)) if g.factor == 4.0]
    [(5.0, 2.8, 2.8)]
    """
    grids = []
    for factor in FACTORS:
        least = factor * min(_across(spacing_mm, flat))
        z, y, x = (s if axis == flat else max(s, least) for axis, s in enumerate(spacing_mm))
        sizes = (max(1, round(n * old / new)) for n, old, new in zip(shape, spacing_mm, (z, y, x), strict=True))
        size = (next(sizes), next(sizes), next(sizes))
        grids.append(WorkingGrid(factor=factor, spacing_mm=(z, y, x), shape=size, flat=flat))
    return tuple(grids)


def _across(lengths: Sequence[float], flat: int | None) -> list[float]:
    """Return the lengths of the axes within a slice; without a flat axis those of all axes."""
    return [length for axis, length in enumerate(lengths) if axis != flat]


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
    chain: list[Voxels] = []
    while len(chain) < MOST_LEVELS - 1:
        able = [n / 2 >= SMALLEST_EDGE for n in size]
        if not any(able):
            break
        finest = min(s for s, ok in zip(spacing, able, strict=True) if ok)
        steps = [2 if ok and s < EVEN_ENOUGH * finest * 1.001 else 1 for ok, s in zip(able, spacing, strict=True)]
        size = [n / p for n, p in zip(size, steps, strict=True)]
        spacing = [s * p for s, p in zip(spacing, steps, strict=True)]
        chain.append((steps[0], steps[1], steps[2]))
    return tuple(chain) or ((1, 1, 1),)


def stages(
    steps: Sequence[Voxels], spacing_mm: Triple, base: int, widest: int, flat: int | None = None
) -> tuple[Level, ...]:
    """Return the levels of a lean U-Net: `base` features doubling downwards to at most `widest`.

    A kernel is 1 on an axis that is still EVEN_ENOUGH times coarser than the finest, and on the flat axis if any.
    """
    levels = []
    spacing = list(spacing_mm)
    for level, step in enumerate([(1, 1, 1), *steps]):
        spacing = [s * p for s, p in zip(spacing, step, strict=True)]
        coarse = EVEN_ENOUGH * min(_across(spacing, flat)) * 1.001
        z, y, x = (1 if axis == flat or s > coarse else 3 for axis, s in enumerate(spacing))
        width = min(base * 2**level, widest)
        levels.append(Level(features=(width, width), kernel=(z, y, x), pooling=step))
    return tuple(levels)


def crops(grid: WorkingGrid) -> dict[Voxels, tuple[Voxels, ...]]:
    """Return the crops to try on a grid, each with the poolings of its network.

    They have about the proportions of the volume, from the whole of it downwards in steps of SHRINK; of a flat axis
    one slice.
    """
    tried: dict[Voxels, tuple[Voxels, ...]] = {}
    for number in range(CROPS):
        sizes = (max(m, round(n * SHRINK**number)) for n, m in zip(grid.shape, SMALLEST_CROP, strict=True))
        z, y, x = (1 if axis == grid.flat else n for axis, n in enumerate(sizes))
        steps = poolings((z, y, x), grid.spacing_mm)
        for size in divisible((z, y, x), steps, grid.shape):
            tried.setdefault(size, steps)
    return tried


def divisible(size: Voxels, steps: Sequence[Voxels], whole: Voxels) -> tuple[Voxels, ...]:
    """Return the crops around `size` that the poolings divide: each axis rounded down or up, or to its whole.

    Args:
        size: Wanted crop (Z, Y, X).
        steps: From `poolings`.
        whole: The median volume (Z, Y, X); an axis that is wanted whole, or nearly so, is covered.

    >>> divisible((36, 50, 35), ((2, 2, 2), (2, 2, 2), (2, 2, 2)), (36, 50, 35))
    ((40, 56, 40),)
    >>> divisible((66, 50, 40), ((2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 1, 2)), (90, 48, 106))
    ((64, 48, 32), (64, 48, 48), (80, 48, 32), (80, 48, 48))
    """
    axes = []
    for axis, (n, all_of_it) in enumerate(zip(size, whole, strict=True)):
        divisor = math.prod(step[axis] for step in steps)
        covering = math.ceil(all_of_it / divisor)
        counts = {covering} if n >= all_of_it else {max(1, n // divisor), min(math.ceil(n / divisor), covering)}
        axes.append(sorted(count * divisor for count in counts))
    return tuple((z, y, x) for z in axes[0] for y in axes[1] for x in axes[2])


def enough(grid: WorkingGrid, fingerprint: Fingerprint, cover: float) -> Triple:
    """Return how many voxels (Z, Y, X) a crop must have to see enough of the body.

    `cover` of the median volume; or, where that is less, AROUND times the largest organ and all organs together: to
    tell where a small organ lies in a scan of the whole body, half of that body is not needed.
    """
    extents = [organ.median_extent_mm for organ in fingerprint.organs if organ.cases]
    need = []
    for axis in range(3):
        share = cover * grid.shape[axis]
        around = max((AROUND * extent[axis] for extent in extents), default=0.0)
        around = max(around, fingerprint.foreground_extent_mm[axis])
        share = 1.0 if axis == grid.flat else share
        need.append(min(share, around / grid.spacing_mm[axis]) if around else share)
    return need[0], need[1], need[2]


def sees(crop: Voxels, enough: Triple) -> bool:
    """Return whether a crop has at least `enough` voxels on every axis."""
    return all(c >= n for c, n in zip(crop, enough, strict=True))


def share_seen(crop: Voxels, grid: WorkingGrid) -> float:
    """Return which share of the volume's length a crop sees on the axis where it sees least."""
    return min(_across([c / n for c, n in zip(crop, grid.shape, strict=True)], grid.flat))


def affordable_on_cpu(crop: Voxels, step_voxels: int) -> bool:
    """Return whether CPU_CROPS such crops have no more voxels than a CPU's step may have."""
    return CPU_CROPS * math.prod(crop) <= step_voxels


def low_ceilings(ceilings: Mapping[Triple, Sequence[float | None]] | None, spacing_mm: Triple) -> list[int]:
    """Return the numbers of the organs that a grid alone brings below CEILING."""
    known = (ceilings or {}).get(spacing_mm, ())
    return [number for number, dice in enumerate(known) if dice is not None and dice < CEILING]


def leaves_enough(
    ceilings: Mapping[Triple, Sequence[float | None]] | None, spacing_mm: Triple, enough: Sequence[float]
) -> bool:
    """Return whether a grid is known to leave each organ so much of its Dice."""
    known = (ceilings or {}).get(spacing_mm, ())
    return bool(known) and all(dice is not None and dice >= least for dice, least in zip(known, enough, strict=True))


def largest_batch(cases: int) -> int:
    """Return the most crops a step may have: a tenth of the cases, at least 2, at most LARGEST_BATCH."""
    return min(max(2, cases // 10), LARGEST_BATCH, max(1, cases))


def smallest_batch(
    crop: Voxels, cases: int, step_voxels: int | None, most: int = LARGEST_BATCH, processes: int = 1
) -> int:
    """Return the crops of a step: 2 on a GPU (None), whose memory decides; on a CPU as many as the voxels allow.

    On a CPU there are no more than `most`, but at least 2. Of several processes that train together each has at
    least one.
    """
    wanted = 2 if step_voxels is None else min(most, step_voxels // math.prod(crop))
    return max(processes, min(max(2, wanted), largest_batch(cases)))


def intensity(channel: ChannelFingerprint) -> Intensity:
    """Return how a channel is normalised: CT by the dataset's organs, anything else by each image."""
    if channel.ct:
        return Intensity(kind="ct", low=channel.low, high=channel.high, mean=channel.mean, std=channel.std)
    return Intensity(kind="per-image", low=0.5, high=channel.highest_percentile)


def balanced_class_weights(organs: Sequence[OrganFingerprint]) -> tuple[float, ...]:
    """Return the cross-entropy's weight of each class, background first: share of the voxels to the power -1/2.

    Scaled so that the mean over voxels is 1. Without weights small organs stay unlearnt for hundreds of iterations
    (docs/experiments.md).
    """
    shares = [max(organ.mean_share, 1e-6) for organ in organs]
    shares = [max(1e-6, 1.0 - sum(shares)), *shares]
    raw = [share**-0.5 for share in shares]
    scale = sum(share * weight for share, weight in zip(shares, raw, strict=True))
    return tuple(round(weight / scale, 4) for weight in raw)


def class_weights(fingerprint: Fingerprint) -> tuple[float, ...]:
    """Return the cross-entropy's weight of each class: of disjoint organs, `balanced_class_weights`.

    Of regions, that of the voxels within each, where those outside weigh 1: as if it and the rest were two classes.
    """
    if fingerprint.regions is None:
        return balanced_class_weights(fingerprint.organs)
    shares = [min(max(organ.mean_share, 1e-6), 1 - 1e-6) for organ in fingerprint.organs]
    return tuple(round(((1 - share) / share) ** 0.5, 4) for share in shares)
