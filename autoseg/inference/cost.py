"""What predicting an image costs: the memory it will take on a CPU, and the seconds of each phase."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from autoseg.imaging.grid import Grid, Voxels, working_shape
from autoseg.machine import GIB
from autoseg.network.device import runs_bfloat16
from autoseg.network.memory import tile_bytes
from autoseg.plan import Plan

PHASES = ("read", "resample", "network", "upsample", "clean-up", "write")
PREDICTION_HEAP = 1.05  # resident for a byte alive while a tile is predicted on a CPU; measured, docs/benchmarks.md
PROBABILITY_BYTES = 2  # of a probability on the working grid, float16, where the user asks for them
PREDICTION_PROCESS_GIB = 0.5  # Python, PyTorch, SimpleITK and pandas; measured
FIRST_STAGE_GIB = 0.1  # that the networks of a first stage leave resident while the second predicts; measured


class Stopwatch:
    """Adds up the seconds of each phase; reading and writing may overlap with the network."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.by_stage: list[float] = []  # seconds of each of two stages, all phases; empty where there is one
        self.workers_gib = 0.0  # memory that the largest of other processes has taken; 0: this one does it

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a phase of PHASES."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

    @contextmanager
    def stage(self, number: int) -> Iterator[None]:
        """Add the time that the block takes to a stage, 0 or 1."""
        self.by_stage = self.by_stage or [0.0, 0.0]  # of both, as the first may fail
        began = time.perf_counter()
        try:
            yield
        finally:
            self.by_stage[number] += time.perf_counter() - began

    def add(self, other: Stopwatch) -> None:
        """Add what another one has measured, as in another process."""
        self.seconds = {name: seconds + other.seconds[name] for name, seconds in self.seconds.items()}
        if other.by_stage:
            self.by_stage = [a + b for a, b in zip(self.by_stage or [0.0, 0.0], other.by_stage, strict=True)]
        self.workers_gib = max(self.workers_gib, other.workers_gib)


def prediction_gib(
    plan: Plan, networks: int, grid: Grid, image_bytes: int, tile: Voxels, beside_bytes: float = 0.0
) -> float:
    """Return the most memory that predicting an image takes, from its file to the written mask, in GiB.

    Args:
        plan: Of the model.
        networks: Of the model, all of them loaded.
        grid: Of the image (LPS).
        image_bytes: Of the image as read.
        tile: Voxels (Z, Y, X) that go through the network at a time.
        beside_bytes: What is done meanwhile takes so much, as reading the next image.
    """
    mask = float(math.prod(grid.shape))
    working = math.prod(working_shape(grid, plan.spacing_mm, plan.downsampling, plan.flat))
    normalised = 4.0 * len(plan.channels) * working  # the normalised image, float32
    slab = 4.0 * plan.classes * working / max(1, working // math.prod(tile))  # probabilities of a tile
    weights = (networks - 1) * tile_bytes(plan, plan.network.divisor, False)
    network = (
        mask
        + 2 * normalised
        + weights
        + PREDICTION_HEAP * tile_bytes(plan, tile, runs_bfloat16("cpu", plan.precision))
        + 2 * slab
    )
    writing = 3 * mask  # the mask as it is, as stored, and as ITK has it
    peak = max(reading_bytes(image_bytes), image_bytes + 4 * normalised, max(network, writing) + beside_bytes)
    return PREDICTION_PROCESS_GIB + peak / GIB


def reading_bytes(image_bytes: float) -> float:
    """Return what reading an image takes: the file as packed, its unpacked parts, and the whole they are joined to."""
    return 3.0 * image_bytes
