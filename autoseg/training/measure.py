"""Measuring a plan: real iterations on the device, data pipeline included, in a process of their own."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from autoseg.data.batches import Batch, open_batches
from autoseg.data.cache import CachedCase, write_case
from autoseg.errors import PlanError, TooLittleMemoryError
from autoseg.imaging.grid import Grid, Voxels
from autoseg.machine import GIB, ProcessorTime, peak_memory_gib, usable_cores
from autoseg.network.device import DeviceName, memory_explained, release_memory, repeat_exactly
from autoseg.plan import Plan
from autoseg.planning.budget import TRAINING_PROCESS_GIB, StepCost
from autoseg.pool import in_own_process
from autoseg.processes import WorkerLostError
from autoseg.training.state import new_state
from autoseg.training.step import Outcome, Stepper

WARM_UP = 7  # iterations not counted: the first are slower, and find batches made in advance
IN_ADVANCE = 4  # batches that a worker may have made in advance: two queues, its hands, the training's own
COUNTED = 9
LONG_S = {"cpu": 8.0, "mps": 8.0, "cuda": 40.0}  # after so long one to warm up and FEWEST counted will do
FEWEST = 2


def measure_step(plan: Plan, shape: Voxels, workers: int, processes: int = 1, machines: int = 1) -> StepCost | None:
    """Run iterations of `plan` and return what they cost; None where there is too little memory for one.

    Measured on made-up volumes in a fresh process, so that nothing of it stays in this one. It repeats exactly where
    this one does.

    Args:
        plan: What to measure; of several processes the share of one.
        shape: Of a typical volume on the working grid (Z, Y, X).
        workers: Augmentation processes.
        processes: That will train together. Only one is measured: as it will be among the others, with its part of a
            CPU's cores, on a GPU operation by operation; that they wait for each other is not in it.
        machines: That these processes are on.

    Raises:
        PlanError: If the process is killed, or hangs.
    """
    try:
        exactly = torch.are_deterministic_algorithms_enabled()
        return in_own_process(_measure, (plan, shape, workers, processes, machines, exactly))
    except WorkerLostError as error:
        raise PlanError(
            "measuring the plan was killed, most likely for lack of memory; free some, or --set batch_size=1"
        ) from error


def _measure(job: tuple[Plan, Voxels, int, int, int, bool]) -> StepCost | None:
    plan, shape, workers, processes, machines, exactly = job
    beside = processes // machines
    if exactly:
        repeat_exactly()
    if plan.device == "cpu" and beside > 1:
        torch.set_num_threads(max(1, usable_cores() // beside))
    with tempfile.TemporaryDirectory() as folder:
        cases = [_made_up(Path(folder), f"case{n}", plan, shape) for n in range(plan.batch_size)]
        try:
            with memory_explained("plan a smaller step"):
                waited, took, others_share = _times(plan, cases, workers, processes)
        except TooLittleMemoryError:
            return None
    return StepCost(
        seconds_per_iteration=statistics.mean(took) if plan.device == "cuda" else statistics.median(took),
        waiting_share=sum(waited) / sum(took),
        others_share=others_share,
        gib=_most_memory_gib(plan.device) * (beside if plan.device == "cpu" else 1),  # they share a CPU's memory
    )


def _most_memory_gib(device: DeviceName) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / GIB + TRAINING_PROCESS_GIB["cuda"]
    return peak_memory_gib()


def _times(
    plan: Plan, cases: list[CachedCase], workers: int, processes: int = 1
) -> tuple[list[float], list[float], float]:
    """Return the seconds that each counted iteration waited for its batch, and took in all; and what others took.

    A GPU may be faster than the workers: what they made in advance is used up first, and they count for whole rounds.
    """
    patience_s = LONG_S[plan.device]
    with open_batches(cases, plan, 0, workers) as batches:
        step = Stepper(plan, new_state(plan), processes)
        if plan.device != "cuda":
            _timed(step, batches, 1, WARM_UP, patience_s)
            began = ProcessorTime.now()
            return *_timed(step, batches, FEWEST, COUNTED, patience_s), began.taken_by_others()
        _timed(step, batches, 1, WARM_UP + IN_ADVANCE * workers, patience_s)
        torch.cuda.synchronize()
        release_memory(plan.device)  # what cuDNN tried its algorithms with
        torch.cuda.reset_peak_memory_stats()
        began = ProcessorTime.now()
        return *_timed(step, batches, FEWEST, COUNTED * max(1, workers), patience_s), began.taken_by_others()


def _timed(
    step: Stepper, batches: Iterator[Batch], least: int, most: int, patience_s: float
) -> tuple[list[float], list[float]]:
    """Do iterations, after so long no more than the least; return the seconds that each waited, and took in all.

    As in training, an iteration is looked at while the next one is under way.
    """
    waited: list[float] = []
    took: list[float] = []
    under_way: Outcome | None = None
    while len(took) < most and (len(took) < least or sum(took) < patience_s):
        began = time.perf_counter()
        batch = next(batches)
        waited.append(time.perf_counter() - began)
        before, under_way = under_way, step(batch)
        if before is not None:
            before.read()
        took.append(time.perf_counter() - began)
    began = time.perf_counter()
    if under_way is not None:  # the last one has only been started
        under_way.read()
        took[-1] += time.perf_counter() - began
    return waited, took


def _made_up(folder: Path, name: str, plan: Plan, shape: Voxels) -> CachedCase:
    rng = np.random.default_rng(0)
    grid = Grid(shape=shape, spacing_mm=plan.spacing_mm or (1.0, 1.0, 1.0))
    case = CachedCase(
        id=name,
        folder=folder,
        patient=name,
        source_digest="",
        plan_digest="",
        grid=grid,
        stored=grid,
        working=grid,
        hidden=(1,) if plan.loss.partial else (),
    )
    image = rng.normal(size=(len(plan.channels), *shape)).astype(np.float32)
    label = rng.integers(0, len(plan.scheme.values), shape, dtype=np.uint8)
    write_case(case, image, plan.scheme.without(label, case.hidden), seed=0)
    return case
