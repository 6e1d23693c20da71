"""Measuring a plan: real iterations on the device, data pipeline included, in a process of their own."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from autoseg.data.batches import open_batches
from autoseg.data.cache import CachedCase, write_case
from autoseg.errors import PlanError
from autoseg.grid import Grid, Voxels
from autoseg.plan import Plan
from autoseg.training.state import new_state, step

WARM_UP = 3  # iterations not counted: the first are slower, and find batches made in advance
COUNTED = 9


def seconds_per_iteration(plan: Plan, shape: Voxels, workers: int) -> float:
    """Return the median time of a training iteration of `plan`, waiting for data included.

    Measured on made-up volumes in a fresh process, so that nothing of it stays in this one.

    Args:
        plan: What to measure.
        shape: Of a typical volume on the working grid (Z, Y, X).
        workers: Augmentation processes.

    Raises:
        PlanError: If the process is killed.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, plan, shape, workers).result()
        except BrokenProcessPool as error:
            raise PlanError(
                "measuring the plan was killed, most likely for lack of memory; free some, or --set batch_size=1"
            ) from error


def _measure(plan: Plan, shape: Voxels, workers: int) -> float:
    times = []
    with tempfile.TemporaryDirectory() as folder:
        cases = [_made_up(Path(folder), f"case{n}", plan, shape) for n in range(plan.batch_size)]
        with open_batches(cases, plan, 0, workers) as batches:
            state = new_state(plan)
            for _ in range(WARM_UP + COUNTED):
                began = time.perf_counter()
                step(plan, state, next(batches))
                times.append(time.perf_counter() - began)
    return statistics.median(times[WARM_UP:])


def _made_up(folder: Path, name: str, plan: Plan, shape: Voxels) -> CachedCase:
    rng = np.random.default_rng(0)
    grid = Grid(shape=shape, spacing_mm=plan.spacing_mm or (1.0, 1.0, 1.0))
    case = CachedCase(
        id=name, folder=folder, patient=name, source_key="", plan_key="", grid=grid, stored=grid, working=grid
    )
    image = rng.normal(size=(len(plan.channels), *shape)).astype(np.float32)
    write_case(case, image, rng.integers(0, plan.classes, shape, dtype=np.uint8), seed=0)
    return case
