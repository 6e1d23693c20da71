"""The figures that need a GPU, each one command: python -m tests.benchmarks.gpu memory | steps | feed | profile.

Tables in Markdown, for docs/benchmarks.md. `--device cpu` tries the same at a small size.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

import made

from autoseg.data.batches import Batch, open_batches
from autoseg.errors import TooLittleMemoryError
from autoseg.imaging.grid import Triple, Voxels
from autoseg.machine import GIB, peak_memory_gib
from autoseg.network.device import DeviceName, autocast, memory_explained
from autoseg.network.memory import training_bytes
from autoseg.plan import Level, NetworkPlan, OptimiserPlan, Plan
from autoseg.planning import rules
from autoseg.training.measure import _made_up
from autoseg.training.step import Stepper, new_state

ADAMW = OptimiserPlan(name="adamw", schedule="cosine", averaging=0.99, gradient_clip=12.0)
PAPER = NetworkPlan(stages=tuple(Level(features=f) for f in ((32, 64), (64, 128), (128, 256), (256, 512))))
EVEN, FLAT = (1.0, 1.0, 1.0), (3.6, 0.6, 0.6)


def lean(
    crop: Voxels, batch: int, base: int = 32, norm: str = "batch", spacing: Triple = EVEN, channels: int = 1
) -> Plan:
    """Return a plan with the default network on a crop."""
    stages = rules.stages(rules.poolings(crop, spacing), spacing, base=base, widest=320)
    network = NetworkPlan.model_validate({"stages": stages, "norm": norm, "activation": "leaky-relu", "up": "skip"})
    names = tuple(f"c{n}" for n in range(channels))
    how = made.plan().intensity * channels
    return made.plan(
        crop_size=crop, batch_size=batch, network=network, optimiser=ADAMW, tile_depth=crop[0], channels=names,
        intensity=how, spacing_mm=spacing,
    )  # fmt: skip


def paper(batch: int) -> Plan:
    """Return a plan with the paper's network on 64³ crops."""
    return made.plan(crop_size=(64, 64, 64), batch_size=batch, network=PAPER, tile_depth=64)


MEMORY = {
    **{f"the paper's, {n}×64³": paper(n) for n in (1, 3, 6, 12)},
    **{f"{n}×64³, 32 features": lean((64, 64, 64), n) for n in (1, 2, 4, 16)},
    **{f"2×{n}³, 32": lean((n, n, n), 2) for n in (96, 128, 160, 192)},
    **{f"2×96³, {n}": lean((96, 96, 96), 2, n) for n in (8, 16, 24, 48)},
    **{f"2×96³, 32, {n} norm": lean((96, 96, 96), 2, 32, n) for n in ("instance", "group")},
    "8×40×56×40, 32": lean((40, 56, 40), 8),
    "3×64×48×80, 32": lean((64, 48, 80), 3),
    "2×16×320×320 of 3.6×0.6×0.6 mm, 32": lean((16, 320, 320), 2, spacing=FLAT),
    "2×128³, 32, four channels": lean((128, 128, 128), 2, channels=4),
    "2×64×192×160, 32": lean((64, 192, 160), 2),
    "2×256³, 16": lean((256, 256, 256), 2, 16),
}
SMALL = {"2×16³, 8": lean((16, 16, 16), 2, 8), "2×8×32×32 of 3.6×0.6×0.6 mm, 8": lean((8, 32, 32), 2, 8, spacing=FLAT)}
SPEED = {"the paper's, 3×64³": paper(3), "8×40×56×40, 32": lean((40, 56, 40), 8), "2×128³, 32": lean((128,) * 3, 2)}


def show(*texts: object) -> None:
    """Print at once."""
    print(*texts, flush=True)  # noqa: T201


def batch_of(plan: Plan) -> Batch:
    """Return a batch of noise."""
    rng = np.random.default_rng(0)
    shape = (plan.batch_size, len(plan.channels), *plan.crop_size)
    label = rng.integers(0, plan.classes, (plan.batch_size, 1, *plan.crop_size), dtype=np.uint8)
    data, seg = torch.from_numpy(rng.normal(size=shape).astype(np.float32)), torch.from_numpy(label)
    return {"data": data, "seg": seg, "hidden": [()] * plan.batch_size}


def _freed() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _used(device: DeviceName) -> tuple[float, float]:
    """Return the most memory allocated and reserved, in GiB; on a CPU of the whole process, which has the libraries."""
    if device == "cpu":
        return peak_memory_gib(), peak_memory_gib()
    return torch.cuda.max_memory_allocated() / GIB, torch.cuda.max_memory_reserved() / GIB


def memory(device: DeviceName) -> None:
    """Print predicted and measured memory of training steps."""
    show("| step | counted GiB | allocated GiB | difference | reserved GiB | of it |\n|---|---|---|---|---|---|")
    for name, plan in (SMALL if device == "cpu" else MEMORY).items():
        settings = plan.model_copy(update={"device": device})
        _freed()
        base = 0.0 if device == "cpu" else torch.cuda.memory_allocated() / GIB
        counted = training_bytes(settings, True) / GIB
        try:
            with memory_explained("take a smaller one"):
                step, batch = Stepper(settings, new_state(settings)), batch_of(settings)
                for number in range(12):
                    step(batch).read()
                    if number == 1:  # without the scratch space in which cuDNN tried its algorithms
                        _freed()
        except TooLittleMemoryError:
            show(f"| {name} | {counted:.2f} | out of memory | | | |")
            step = None  # type: ignore[assignment]
            continue
        most, reserved = _used(device)
        allocated = most - base
        row = f"{counted:.2f} | {allocated:.2f} | {counted / allocated - 1:+.0%} | {reserved:.2f}"
        show(f"| {name} | {row} | {counted / reserved:.0%} |")
        del step


def seconds(plan: Plan, count: int) -> float:
    """Return the seconds of one iteration on a batch at hand."""
    _freed()
    step, batch = Stepper(plan, new_state(plan)), batch_of(plan)
    for _ in range(10):
        step(batch).read()
    began = time.perf_counter()
    before = step(batch)
    for _ in range(count - 1):  # as in training, an iteration is looked at while the next one is under way
        under_way = step(batch)
        before.read()
        before = under_way
    before.read()
    return (time.perf_counter() - began) / count


def flops(plan: Plan) -> int:
    """Return the floating-point operations of forward and backward."""
    state, batch = new_state(plan), batch_of(plan)
    with FlopCounterMode(display=False) as counter, autocast(plan.device, plan.precision):
        state.network(batch["data"].to(plan.device)).float().sum().backward()
    return int(counter.get_total_flops())


def steps(device: DeviceName) -> None:
    """Print milliseconds of a step, and its share of the device's limit."""
    count = 50 if device == "cuda" else 3
    n = 8192 if device == "cuda" else 1024
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(8):
        began = time.perf_counter()
        b = a @ a
        float(b[0, 0])
        times.append(time.perf_counter() - began)
    limit = 2 * n**3 / statistics.median(times)
    show(f"limit (bfloat16 matrix product): {limit / 1e12:.0f} TFLOP/s\n")
    show("| step | GFLOP | ms | TFLOP/s | share of limit |\n|---|---|---|---|---|")
    for name, plan in (SMALL if device == "cpu" else SPEED).items():
        settings = plan.model_copy(update={"device": device})
        work = flops(settings)
        took = seconds(settings, count)
        rate = work / took
        cells = f"{work / 1e9:.0f} | {1e3 * took:.1f} | {rate / 1e12:.0f} | {rate / limit:.0%}"
        show(f"| {name} | {cells} |")


def feed(device: DeviceName) -> None:
    """Print how many batches a second the augmentation processes make, taken by a process that does nothing else."""
    show("| plan | workers | batches/s | crops/s |\n|---|---|---|---|")
    for name, plan in (SMALL if device == "cpu" else SPEED).items():
        settings = plan.model_copy(update={"device": device})
        with tempfile.TemporaryDirectory() as folder:
            cases = [_made_up(Path(folder), f"case{n}", settings, (96, 128, 128)) for n in range(plan.batch_size)]
            for workers in (1, 2) if device == "cpu" else (4, 8, 15):
                with open_batches(cases, settings, 0, workers) as batches:
                    for _ in range(4 * workers):
                        next(batches)
                    began, taken = time.perf_counter(), 0
                    while time.perf_counter() - began < 4:
                        next(batches)
                        taken += 1
                    rate = taken / (time.perf_counter() - began)
                show(f"| {name} | {workers} | {rate:.1f} | {rate * plan.batch_size:.0f} |")


def profile(device: DeviceName) -> None:
    """Print the kernels that take longest."""
    for name, plan in (SMALL if device == "cpu" else SPEED).items():
        settings = plan.model_copy(update={"device": device})
        step, batch = Stepper(settings, new_state(settings)), batch_of(settings)
        for _ in range(8):
            step(batch).read()
        with torch.profiler.profile() as trace:
            for _ in range(3):
                step(batch).read()
        show(name, trace.key_averages().table(sort_by="self_cuda_time_total", row_limit=14, max_name_column_width=90))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("memory", "steps", "feed", "profile"), nargs="+")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    asked = parser.parse_args()
    for what in asked.what:
        globals()[what](asked.device)
