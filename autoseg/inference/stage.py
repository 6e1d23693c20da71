"""One stage of a model: networks of one plan on one working grid, and what they predict for an image there."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import nn

from autoseg.imaging.grid import Box, Grid, Voxels, working_shape
from autoseg.inference.cost import PREDICTION_HEAP, PROBABILITY_BYTES, Stopwatch, prediction_gib
from autoseg.inference.device_mask import painting_bytes
from autoseg.inference.tiles import Ensemble, Tiling, choose_tiling, mirrors_of, sliding_window
from autoseg.inference.upsample import Upsampler
from autoseg.labels import Atoms
from autoseg.machine import GIB, free_memory_gib
from autoseg.network.device import DeviceName, free_gpu_gib, runs_bfloat16
from autoseg.network.memory import is_indexable, tile_bytes
from autoseg.plan import Plan
from autoseg.planning.budget import CPU_SHARE, GPU_SHARE

logger = logging.getLogger(__name__)
MARGIN = 8  # voxels of the working grid that are kept around the body
ABOVE_FLOOR = 0.05  # of the normalised intensities: less is the floor that everything below the window was clipped to


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """How to predict."""

    mirrored: bool = False  # average over the mirrorings that training knew: several times slower
    cleaned: bool = True  # clean the mask up by the rules that helped on validation cases
    probabilities: bool = False  # keep them, of all classes on the working grid; clean-up does not change them


USUAL_OPTIONS = InferenceOptions()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Networks of one plan, ready on their device; several are an ensemble."""

    networks: tuple[nn.Module, ...]
    plan: Plan

    @property
    def runs(self) -> tuple[DeviceName, bool]:
        """Where it runs, and whether in bfloat16: another way, other bits."""
        return self.plan.device, runs_bfloat16(self.plan.device, self.plan.precision)

    def infer(
        self,
        image: npt.NDArray[np.floating],
        full: Voxels,
        options: InferenceOptions = USUAL_OPTIONS,
        watch: Stopwatch | None = None,
        truth: Atoms | None = None,
    ) -> Upsampler:
        """Predict an image on the working grid, float (C, Z, Y, X); return its masks of atoms, not cleaned.

        Args:
            image: Normalised.
            full: Voxels (Z, Y, X) of the image's own grid, to which the mask goes.
            options: How.
            watch: Gets the time of each phase.
            truth: Atoms on the working grid, for an upsampler that counts how often the probabilities are right.

        Raises:
            TooLittleMemoryError: If not even the smallest tile fits.
        """
        box = foreground_box(image, self.plan)
        tiling = self._tiling(box, image.shape[1:], full)
        logger.debug("tiles of %s voxels for %s of %s", tiling.tile, _size(box), image.shape[1:])
        ensemble = Ensemble(self.networks, self.plan, mirrors_of(self.plan) if options.mirrored else ((),))
        depth, height, width = image.shape[1:]
        begin = partial(Upsampler, self.plan.scheme, (depth, height, width), full, options.probabilities, truth)
        return sliding_window(ensemble, image, box, tiling, begin, watch)

    def memory_gib(
        self,
        image: npt.NDArray[np.floating],
        grid: Grid,
        image_bytes: int,
        options: InferenceOptions = USUAL_OPTIONS,
        beside_bytes: float = 0.0,
    ) -> float:
        """Return the most memory that predicting an image takes on a CPU, in GiB, before the network begins.

        Args:
            image: Normalised, on the working grid (C, Z, Y, X).
            grid: Of the image as read, LPS.
            image_bytes: Of the image as read.
            options: How.
            beside_bytes: What is done meanwhile takes so much.
        """
        tile = self._tiling(foreground_box(image, self.plan), image.shape[1:], grid.shape).tile
        beside_bytes += PROBABILITY_BYTES * self.plan.classes * image[0].size if options.probabilities else 0
        return prediction_gib(self.plan, len(self.networks), grid, image_bytes, tile, beside_bytes)

    def whole_memory_gib(
        self, grid: Grid, image_bytes: int, beside_bytes: float = 0.0, options: InferenceOptions = USUAL_OPTIONS
    ) -> float:
        """Return the most memory that predicting a whole image takes on a CPU, in GiB; see `memory_gib`."""
        working = working_shape(grid, self.plan.spacing_mm, self.plan.downsampling)
        whole = (slice(0, working[0]), slice(0, working[1]), slice(0, working[2]))
        tile = self._tiling(whole, working, grid.shape).tile
        if options.probabilities:
            beside_bytes += self.plan.classes * PROBABILITY_BYTES * math.prod(working)
        return prediction_gib(self.plan, len(self.networks), grid, image_bytes, tile, beside_bytes)

    def _tiling(self, box: Box, working: tuple[int, ...], full: Voxels) -> Tiling:
        """Return the largest tiles of a box that fit into the memory that is free now."""
        device, bfloat16 = self.runs
        free = CPU_SHARE * free_memory_gib() / PREDICTION_HEAP if device == "cpu" else GPU_SHARE * free_gpu_gib(device)

        def fits(tile: Voxels) -> bool:
            painting = painting_bytes(self.plan.classes, tile[0], working, full) if device == "cuda" else 0
            counted = tile_bytes(self.plan, tile, bfloat16) + painting
            return is_indexable(self.plan, 1, tile) and counted <= free * GIB

        return choose_tiling(_size(box), self.plan, fits)


def _size(box: Box) -> Voxels:
    z, y, x = (part.stop - part.start for part in box)
    return z, y, x


def foreground_box(image: npt.NDArray[np.floating], plan: Plan) -> Box:
    """Return the box of the working grid outside of which every CT channel is at its floor.

    An image that has a channel other than CT, or nothing above the floor, is kept whole.

    Args:
        image: Normalised, on the working grid, (C, Z, Y, X).
        plan: Its intensities say what the floor is.
    """
    whole = (slice(0, image.shape[1]), slice(0, image.shape[2]), slice(0, image.shape[3]))
    if any(how.kind != "ct" for how in plan.intensity):
        return whole
    foreground = np.zeros(image.shape[1:], dtype=np.uint8)
    for channel, how in zip(image, plan.intensity, strict=True):
        foreground |= channel > how.pad_value + ABOVE_FLOOR
    (box,) = ndimage.find_objects(foreground) or (None,)
    if box is None:
        return whole
    sizes: tuple[int, ...] = foreground.shape
    z, y, x = (slice(max(0, s.start - MARGIN), min(n, s.stop + MARGIN)) for s, n in zip(box, sizes, strict=True))
    return z, y, x
