"""Figures of the data pipeline beside a GPU: batches a second, and derived plans measured with their feed."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

from autoseg.data.batches import open_batches
from autoseg.dataset.fingerprint import load_fingerprint
from autoseg.machine import GIB, usable_cores
from autoseg.network.device import runs_bfloat16
from autoseg.network.memory import training_bytes
from autoseg.planning.recipe import working_median
from autoseg.run import Run
from autoseg.training.measure import _made_up, measure_step

from .gpu_bench import Bench, row, survived, table
from .gpu_plans import SPEED, TOY_SPEED

MOST_WORKERS = 15


def feed(bench: Bench) -> None:
    """Print how many batches a second the augmentation processes make, and what each costs the process that trains."""
    table("plan", "MB a batch", "workers", "batches/s", "crops/s", "the parent's processor, ms a batch", "started in s")
    said = []
    cores = usable_cores()
    plans = dict(TOY_SPEED if bench.toy else SPEED)
    first, plan = next(iter(plans.items()))
    on_device = plan.augmentation.model_copy(update={"on": "device"})
    plans[f"{first}, augmented on the device"] = plan.model_copy(update={"augmentation": on_device})
    most = min(MOST_WORKERS, cores - 1)
    for name, plan in plans.items():
        shape = tuple(max(24, size * 3 // 2) for size in plan.crop_size)
        with tempfile.TemporaryDirectory() as folder:
            cases = [_made_up(Path(folder), f"case{n}", bench.placed(plan), shape) for n in range(plan.batch_size)]
            for workers in (1,) if bench.toy else dict.fromkeys((most, min(8, most)) if name == first else (most,)):
                if bench.left_s < 12:
                    row(name, "", workers, "left out")
                    continue
                with survived(f"{name}, {workers} workers"):
                    began = time.perf_counter()
                    with open_batches(cases, bench.placed(plan), 0, workers) as batches:
                        for _ in range(4 * workers):
                            batch = next(batches)
                        started = time.perf_counter() - began
                        began, own, taken = time.perf_counter(), time.process_time(), 0
                        while taken < 1 or time.perf_counter() - began < (0.2 if bench.toy else 3):
                            batch = next(batches)
                            taken += 1
                        rate = taken / (time.perf_counter() - began)
                        cost = 1e3 * (time.process_time() - own) / taken
                    size = sum(torch.as_tensor(batch[key]).nbytes for key in ("data", "seg")) / 1e6
                    row(
                        name,
                        f"{size:.1f}",
                        workers,
                        f"{rate:.1f}",
                        f"{rate * plan.batch_size:.0f}",
                        f"{cost:.1f}",
                        f"{started:.1f}",
                    )
                    said.append(f"{name}, {workers} workers: {rate * plan.batch_size:.0f}")
    bench.owe("crops a second by workers", "feed", "; ".join(said))


def measured(bench: Bench) -> None:
    """Measure the derived plans as `plan --measure` does: memory and time of an iteration with its feed."""
    table("plan", "batch × crop", "counted GiB", "reserved GiB and the context", "ms an iteration", "waiting")
    for name in ("hippocampus", "headneck"):
        if bench.left_s < 30:
            row(name, "left out")
            continue
        with survived(name):
            run = Run(bench.runs / name)
            fingerprint, plan = load_fingerprint(run.fingerprint_file), bench.placed(run.plan())
            assert fingerprint is not None
            workers = 1 if bench.toy else min(MOST_WORKERS, usable_cores() - 1)
            cost = measure_step(plan, working_median(plan, fingerprint), workers)
            what = f"{plan.batch_size}×{'×'.join(map(str, plan.crop_size))}"
            counted = training_bytes(plan, runs_bfloat16(bench.device, plan.precision)) / GIB
            if cost is None:
                row(name, what, f"{counted:.2f}", "too little memory")
                continue
            ms, waiting = 1e3 * cost.seconds_per_iteration, cost.waiting_share
            row(name, what, f"{counted:.2f}", f"{cost.gib:.2f}", f"{ms:.1f}", f"{waiting:.1%}")
            bench.owe(
                f"the same after `--measure`, {name}",
                "measured",
                f"{what}: counted {counted:.2f}, reserved {cost.gib:.2f} GiB; {ms:.1f} ms, {waiting:.1%} waiting",
            )
