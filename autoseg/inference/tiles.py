"""Sliding window: whole volumes through an ensemble, in tiles averaged where they overlap (Roth et al. 2018, 2.3).

A tile has the full x-y extent where the memory allows. Slices come out as soon as no later tile reaches them, so that
no more than one tile of all classes is ever held.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from autoseg.errors import TooLittleMemoryError
from autoseg.imaging.grid import Box, Voxels
from autoseg.inference.cost import Stopwatch
from autoseg.inference.upsample import Upsampler
from autoseg.network.device import autocast, memory_explained, send
from autoseg.network.outputs import activate, of_classes, output_channels
from autoseg.plan import Plan

logger = logging.getLogger(__name__)
DEVIATION = 0.125  # of the Gaussian weights, as a share of the tile (as in nnU-Net)
Result = TypeVar("Result")
Mirrors = Sequence[tuple[int, ...]]  # axes that are flipped together, 1 for Z to 3 for X; () is the image as it is
WAY_OUT = "predict with --device cpu, or close other programs"


@dataclass(frozen=True)
class Ensemble:
    """Networks of one plan whose probabilities are averaged."""

    networks: Sequence[nn.Module]  # in evaluation mode, on the plan's device
    plan: Plan
    mirrors: Mirrors = ((),)  # averaged over, from `mirrors_of`
    keeps_outputs: bool = False  # gives the probabilities of the networks' outputs, not those of classes

    @property
    def device(self) -> torch.device:
        """The networks' device."""
        return next(self.networks[0].parameters()).device

    def mean(self, piece: Tensor) -> Tensor:
        """Return the mean probabilities (classes, z, Y, X) of a tile (1, C, z, Y, X); classes lie last in memory.

        They are on the networks' device.
        """
        first, *further = itertools.product(self.networks, self.mirrors)
        piece = send(piece, self.device)
        total = self._probabilities(*first, piece)
        for network, axes in further:
            total += self._probabilities(network, axes, piece)
        return total.div_(1 + len(further))

    def _probabilities(self, network: nn.Module, axes: tuple[int, ...], piece: Tensor) -> Tensor:
        """Return the probabilities of a tile, which the network sees mirrored, on the network's device."""
        device = self.device
        piece = piece.flip([axis + 1 for axis in axes]) if axes else piece
        placed = piece if device.type == "mps" else piece.to(memory_format=torch.channels_last_3d)
        with torch.inference_mode(), autocast(device.type, self.plan.precision):  # type: ignore[arg-type]
            logits: Tensor = network(placed)
        probabilities = activate(self.plan.scheme, logits[0].permute(1, 2, 3, 0).float(), dim=3)
        if not self.keeps_outputs:
            probabilities = of_classes(self.plan.scheme, probabilities, dim=3)
        probabilities = probabilities.flip([axis - 1 for axis in axes]) if axes else probabilities
        return probabilities.permute(3, 0, 1, 2)


def mirrors_of(plan: Plan) -> Mirrors:
    """Return all combinations of the axes on which training mirrored its crops; a network knows no others."""
    axes = tuple("zyx".index(axis) + 1 for axis in plan.augmentation.mirrored)
    return tuple(some for count in range(len(axes) + 1) for some in itertools.combinations(axes, count))


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a volume is cut: the tiles' size, and what they share."""

    tile: Voxels  # voxels (Z, Y, X), divisible by the poolings
    overlap: float  # share of its length that a tile has in common with the next, on each axis that has several
    weights: Literal["flat", "gaussian"] = "gaussian"  # of a tile's voxels, where several tiles are averaged

    def weight(self, axis: int) -> Tensor:
        """Return the weight of each voxel of a tile along an axis: less towards its ends, or the same."""
        size = self.tile[axis]
        if self.weights == "flat":
            return torch.ones(size)
        from_middle = torch.arange(size) - (size - 1) / 2
        return torch.exp(-0.5 * (from_middle / (DEVIATION * size)) ** 2)


def tile_starts(depth: int, tile: int, overlap: float) -> list[int]:
    """Return the first slice of each tile, so that every slice is covered and the tiles are evenly spread.

    >>> tile_starts(10, 4, 0.5)
    [0, 2, 4, 6]
    >>> tile_starts(3, 4, 0.5)
    [0]
    """
    if depth <= tile:
        return [0]
    step = max(1, round(tile * (1 - overlap)))
    count = -(-(depth - tile) // step) + 1
    return [round(i * (depth - tile) / (count - 1)) for i in range(count)]


def padded_shape(shape: Voxels, plan: Plan) -> Voxels:
    """Return a volume's shape after padding to what the poolings divide, (Z, Y, X)."""
    z, y, x = (n + -n % d for n, d in zip(shape, plan.network.divisor, strict=True))
    return z, y, x


def choose_tiling(shape: Voxels, plan: Plan, fits: Callable[[Voxels], bool] = lambda _: True) -> Tiling:
    """Return the largest tile that fits: the whole volume, else of less depth, then also of less height and width.

    Args:
        shape: Of the volume on the working grid (Z, Y, X).
        plan: `tile_depth` is the largest depth; None: the whole depth, but under instance or group norm, whose
            statistics depend on it, the crop's.
        fits: Whether a tile of so many voxels (Z, Y, X) fits the memory.

    Raises:
        TooLittleMemoryError: If not even the smallest tile fits.
    """
    z, y, x = padded_shape(shape, plan)
    most = plan.tile_depth or (z if plan.network.norm == "batch" else plan.crop_size[0])
    tiling: Tiling | None = Tiling(tile=(min(z, most), y, x), overlap=plan.tile_overlap, weights=plan.tile_weights)
    while tiling is not None and not fits(tiling.tile):
        tiling = _halved(tiling, plan)
    if tiling is None:
        raise TooLittleMemoryError(f"there is too little memory for a tile of {plan.network.divisor} voxels; {WAY_OUT}")
    return tiling


def sliding_window(
    ensemble: Ensemble,
    image: npt.NDArray[np.floating],
    box: Box,
    tiling: Tiling,
    begin: Callable[[], Upsampler],
    watch: Stopwatch | None = None,
) -> Upsampler:
    """Predict a box of a volume; outside of the box all is background.

    A tile that does not fit after all is halved, and the volume begun anew.

    Args:
        ensemble: The networks.
        image: Normalised, on the working grid, (C, Z, Y, X).
        box: What goes through the network, on the working grid.
        tiling: From `choose_tiling`.
        begin: Makes the empty upsampler of the image.
        watch: Gets the time of the phases "network" and "upsample".

    Raises:
        TooLittleMemoryError: If not even the smallest tile fits.
    """
    watch, plan = watch or Stopwatch(), ensemble.plan

    def attempt(smaller: Tiling) -> Upsampler:
        slabs = probability_slabs(ensemble, image[:, *box], smaller, on_device=True)
        with memory_explained(WAY_OUT) if ensemble.device.type == "cuda" else nullcontext():
            return _painted(begin(), _surrounded(slabs, ensemble, box, image.shape[1:]), watch)

    return while_too_large(attempt, tiling, plan)


def while_too_large(attempt: Callable[[Tiling], Result], tiling: Tiling, plan: Plan) -> Result:
    """Return the result of an attempt; while its tiles do not fit the memory after all, try with halved ones.

    Raises:
        TooLittleMemoryError: If not even the smallest tile fits.
    """
    current: Tiling | None = tiling
    while current is not None:
        with suppress(TooLittleMemoryError):
            return attempt(current)
        smaller = _halved(current, plan)
        logger.warning("a tile of %s voxels did not fit the memory; next: %s", current.tile, smaller and smaller.tile)
        current = smaller
    raise TooLittleMemoryError(f"there is too little memory for a tile of {plan.network.divisor} voxels; {WAY_OUT}")


def _painted(upsampler: Upsampler, slabs: Iterator[Tensor], watch: Stopwatch) -> Upsampler:
    """Return the upsampler after all slabs."""
    while True:
        with watch.phase("network"):
            slab = next(slabs, None)
            if slab is None:
                upsampler.wait()  # a GPU paints what the network has just done: one time for both
        with watch.phase("upsample"):
            if slab is None:
                return upsampler.finish()
            upsampler.add(slab)


def _surrounded(slabs: Iterator[Tensor], ensemble: Ensemble, box: Box, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Yield the slabs of a box with background around them, as slabs of a volume of `shape` (Z, Y, X)."""
    certain = torch.from_numpy(ensemble.plan.scheme.membership[0].astype(np.float32))
    certain = send(certain, _sums_device(ensemble, on_device=True))

    def background(depth: int) -> Tensor:
        return certain.repeat((depth, *shape[1:], 1)).permute(3, 0, 1, 2)

    if box[0].start:
        yield background(box[0].start)
    for slab in slabs:
        if slab.shape[2:] == shape[1:]:
            yield slab
        else:
            around = background(slab.shape[1])
            around[:, :, box[1], box[2]] = slab
            yield around
    if box[0].stop < shape[0]:
        yield background(shape[0] - box[0].stop)


def probability_slabs(
    ensemble: Ensemble, image: npt.NDArray[np.floating], tiling: Tiling, on_device: bool = False
) -> Iterator[Tensor]:
    """Yield the class probabilities of a volume from its first slice to its last, the mean over all that see a voxel.

    Each slab is float32 (classes, z, Y, X).

    Args:
        ensemble: The networks.
        image: Normalised, on the working grid, (C, Z, Y, X).
        tiling: How the volume is cut.
        on_device: Whether slabs stay on a CUDA device, where nothing waits for them; else they come to the CPU.

    Raises:
        TooLittleMemoryError: If the device cannot hold a tile.
    """
    padded, inner = _padded(torch.from_numpy(np.asarray(image, dtype=np.float32)), ensemble.plan)
    depth, weight = tiling.tile[0], tiling.weight(0)
    place = _sums_device(ensemble, on_device)
    starts = tile_starts(padded.shape[1], depth, tiling.overlap)
    weights = torch.zeros(padded.shape[1])  # of each slice, added over the tiles that it lies in
    for start in starts:
        weights[start : start + depth] += weight
    weight, weights = send(weight, place), send(weights, place)
    over: Tensor | None = None  # sums of the slices that the next tile reaches too
    for start, after in itertools.pairwise((*starts, padded.shape[1])):
        with torch.no_grad(), memory_explained(WAY_OUT):
            sums = _over_places(ensemble, padded[None, :, start : start + depth], tiling, place)
        sums = sums[:, :, inner[1], inner[2]].mul_(weight[:, None, None])
        if over is not None:
            sums[:, : over.shape[1]] += over
        done = sums[:, : after - start] / weights[start:after, None, None]
        over = sums[:, after - start :]
        first, last = max(inner[0].start, start), min(inner[0].stop, after)
        if first < last:
            yield done[:, first - start : last - start]


def _sums_device(ensemble: Ensemble, on_device: bool) -> torch.device:
    return ensemble.device if on_device and ensemble.device.type == "cuda" else torch.device("cpu")


def _over_places(ensemble: Ensemble, piece: Tensor, tiling: Tiling, place: torch.device) -> Tensor:
    """Return the probabilities (classes, z, Y, X) of a piece (1, C, z, Y, X), the weighted mean over its tiles."""
    along_y, along_x = (tile_starts(piece.shape[axis + 2], tiling.tile[axis], tiling.overlap) for axis in (1, 2))
    if len(along_y) == len(along_x) == 1:
        return ensemble.mean(piece).to(place)
    count = output_channels(ensemble.plan.scheme) if ensemble.keeps_outputs else ensemble.plan.classes
    total = torch.zeros((*piece.shape[2:], count), device=place).permute(3, 0, 1, 2)
    weight = send(torch.outer(tiling.weight(1), tiling.weight(2)), place)
    weights = torch.zeros(piece.shape[3:], device=place)
    for y, x in itertools.product(along_y, along_x):
        part = slice(y, y + tiling.tile[1]), slice(x, x + tiling.tile[2])
        total[:, :, *part] += ensemble.mean(piece[:, :, :, *part]).to(place).mul_(weight)
        weights[part] += weight
    return total.div_(weights)


def _halved(tiling: Tiling, plan: Plan) -> Tiling | None:
    """Return a smaller tiling; None: there is none.

    First the depth is halved, down to the crop's, which the network has seen; then height and width, down to the
    crop's; at last all of them, down to one pooling's.
    """
    for least in (plan.crop_size, plan.network.divisor):
        for axes in ((0,), (1, 2)):
            sizes = list(tiling.tile)
            for axis in axes:
                divisor = plan.network.divisor[axis]
                sizes[axis] = min(sizes[axis], max(least[axis], sizes[axis] // 2 // divisor * divisor))
            if tuple(sizes) != tiling.tile:
                return replace(tiling, tile=(sizes[0], sizes[1], sizes[2]))
    return None


def _padded(image: Tensor, plan: Plan) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """Pad to extents that the network can divide; return the padded image and where the image lies in it."""
    sides: list[int] = []
    inner = []
    for size, divisor in zip(image.shape[1:], plan.network.divisor, strict=True):
        missing = -size % divisor
        inner.append(slice(missing // 2, missing // 2 + size))
        sides = [missing // 2, missing - missing // 2, *sides]
    channels = [pad(c[None], sides, value=how.pad_value) for c, how in zip(image, plan.intensity, strict=True)]
    return torch.cat(channels), (inner[0], inner[1], inner[2])
