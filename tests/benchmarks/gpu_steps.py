"""Figures of single steps on a GPU: the machine's limits, the step and its kernels, its variants, its memory."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from autoseg.data.batches import Batch
from autoseg.machine import GIB
from autoseg.network.device import autocast, memory_explained, repeat_exactly, runs_bfloat16
from autoseg.network.memory import training_bytes
from autoseg.plan import Plan
from autoseg.training.iteration import Iteration
from autoseg.training.state import new_state
from autoseg.training.step import Stepper

from .gpu_bench import Bench, freed, milliseconds, row, show, survived, synchronised, table
from .gpu_plans import MEMORY, SPEED, TOY_MEMORY, TOY_SPEED, batch_of

KERNELS = 22  # that are told of each step


def matrix_limit(bench: Bench) -> float:
    """Return the floating-point operations a second of a bfloat16 matrix product."""
    n = 512 if bench.toy else 8192
    a = torch.randn(n, n, device=bench.device, dtype=torch.bfloat16)
    return 2 * n**3 / (1e-3 * milliseconds(bench, lambda: a @ a))


def where(bench: Bench) -> None:
    """Print what machine this is, and how fast it multiplies and copies."""
    table("machine", "")
    row("torch, numpy, Python", f"{torch.__version__}, {np.__version__}, {sys.version.split()[0]}")
    row("cores", os.cpu_count())
    if Path("/dev/shm").is_dir():
        row("/dev/shm free, GiB", f"{shutil.disk_usage('/dev/shm').free / GIB:.1f}")
    if not bench.toy:
        free, total = torch.cuda.mem_get_info()
        row("GPU", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
        row(
            "its memory, GiB",
            f"{total / GIB:.1f}, free {free / GIB:.1f}: context and others {(total - free) / GIB:.2f}",
        )
    row("bfloat16 matrix product, TFLOP/s", f"{matrix_limit(bench) / 1e12:.2f}")
    size = 2**20 if bench.toy else 2**30
    big = torch.empty(size, device=bench.device, dtype=torch.uint8).random_()
    other = torch.empty_like(big)
    row(
        "copied on the device, read and written, TB/s",
        f"{2 * size / milliseconds(bench, lambda: other.copy_(big)) / 1e9:.3f}",
    )
    host = torch.empty(size // 16, dtype=torch.uint8)
    sources = {"pageable": host} if bench.toy else {"pinned": host.pin_memory(), "pageable": host}
    target = torch.empty(size // 16, device=bench.device, dtype=torch.uint8)
    for name, source in sources.items():
        took = milliseconds(bench, lambda source=source: target.copy_(source, non_blocking=True))
        row(f"{size / 2**24:g} MiB to the device from {name} memory, GB/s", f"{size / 16 / took / 1e6:.1f}")


def paced(bench: Bench, step: Stepper, batch: Batch, count: int) -> tuple[float, float]:
    """Return the milliseconds of an iteration, paced as in training, and those in which the host launched it."""
    for _ in range(8):
        step(batch).read()
    began, launching = synchronised(bench), 0.0
    before = step(batch)
    for _ in range(count - 1):  # an iteration is looked at while the next one is under way
        start = time.perf_counter()
        under_way = step(batch)
        launching += time.perf_counter() - start
        before.read()
        before = under_way
    before.read()
    return 1e3 * (time.perf_counter() - began) / count, 1e3 * launching / max(1, count - 1)


def flops(plan: Plan) -> int:
    """Return the floating-point operations of forward and backward."""
    state, batch = new_state(plan), batch_of(plan)
    with FlopCounterMode(display=False) as counter, autocast(plan.device, plan.precision):
        state.network(batch["data"].to(plan.device)).float().sum().backward()
    return int(counter.get_total_flops())


def steps(bench: Bench) -> None:
    """Print milliseconds of a step, its share of the device's limit, the host's part of it, and its longest kernels."""
    limit = matrix_limit(bench)
    table("step", "TFLOP", "ms", "TFLOP/s", "share of limit", "launching ms", "first iteration s")
    said, measured = [], {}
    for name, plan in (TOY_SPEED if bench.toy else SPEED).items():
        with survived(name):
            settings = bench.placed(plan)
            freed(bench)
            work = flops(settings)
            step, batch = Stepper(settings, new_state(settings)), batch_of(settings)
            began = time.perf_counter()
            step(batch).read()
            first_s = time.perf_counter() - began
            ms, launching = paced(bench, step, batch, 3 if bench.toy else 60)
            rate, share = 1e3 * work / ms, 1e3 * work / ms / limit
            speed = f"{ms:.2f}", f"{rate / 1e12:.1f}", f"{share:.0%}"
            row(name, f"{work / 1e12:.3f}", *speed, f"{launching:.2f}", f"{first_s:.1f}")
            said.append(f"{name}: {ms:.1f} ms, {share:.0%}")
            measured[name] = step, batch
    bench.owe("milliseconds of a step, and share of the bfloat16 limit", "steps", "; ".join(said))
    for name, (step, batch) in measured.items():
        lines = _kernels(bench, step, batch)
        table(f"kernel ({name})", "times a step", "ms a step")
        for cells in lines:
            row(*cells)


def _kernels(bench: Bench, step: Stepper, batch: Batch) -> list[tuple[str, int, str]]:
    """Return the operations of four steps that take longest, each with its times and milliseconds a step."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [] if bench.toy else [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as trace:
        for _ in range(4):
            step(batch).read()

    def micros(event: torch.autograd.profiler_util.FunctionEventAvg) -> float:
        return float(event.self_cpu_time_total if bench.toy else event.self_device_time_total)

    longest = sorted(trace.key_averages(), key=micros, reverse=True)
    total = sum(micros(event) for event in longest)
    launches = sum(event.count for event in longest if micros(event))
    return [("all", launches // 4, f"{total / 4e3:.3f}")] + [
        (event.key[:90].replace("|", "/"), event.count // 4, f"{micros(event) / 4e3:.3f}")
        for event in longest[: 3 if bench.toy else KERNELS]
    ]


def _compiled(plan: Plan) -> Stepper:
    state = new_state(plan)
    state.network = torch.compile(state.network)  # type: ignore[assignment]
    return Stepper(plan, state)


def _without_graph(plan: Plan) -> Stepper:
    step = Stepper(plan, new_state(plan))
    step._graph, step._advance = None, Iteration(plan, step.state, step._inputs)
    return step


def _deterministic(plan: Plan) -> Stepper:
    repeat_exactly()
    return Stepper(plan, new_state(plan))


def variants(bench: Bench) -> None:
    """Print what other ways of running the paper's step cost; the deterministic one last, as it stays on."""
    plan = bench.placed(next(iter((TOY_SPEED if bench.toy else SPEED).values())))
    batch = batch_of(plan)
    ways: dict[str, Callable[[], Stepper]] = {
        "as it is": lambda: Stepper(plan, new_state(plan)),
        "without a CUDA graph": lambda: _without_graph(plan),
        "in float32": lambda: Stepper(single, new_state(single)),
        "network compiled": lambda: _compiled(plan),
        "--deterministic": lambda: _deterministic(plan),
    }
    single = plan.model_copy(update={"precision": "float32"})
    table("the paper's step", "ms", "launching ms", "loss", "reserved GiB", "ready after s")
    took = {}
    for name, make in ways.items():
        if bench.left_s < 25 or (bench.toy and "compiled" in name):
            row(name, "left out")
            continue
        with survived(name):
            freed(bench)
            began = time.perf_counter()
            step = make()
            ms, launching = paced(bench, step, batch, 3 if bench.toy else 60)
            reserved = 0.0 if bench.toy else torch.cuda.max_memory_reserved() / GIB
            took[name] = ms
            row(
                name,
                f"{ms:.2f}",
                f"{launching:.2f}",
                f"{step(batch).read()[0]:.4f}",
                f"{reserved:.1f}",
                f"{time.perf_counter() - began:.0f}",
            )
            del step
    if {"as it is", "--deterministic"} <= took.keys():
        ratio = took["--deterministic"] / took["as it is"] - 1
        bench.owe("what `--deterministic` costs", "variants", f"{ratio:+.0%} a step of the paper's")


def memory(bench: Bench) -> None:
    """Print predicted and measured memory of training steps, the telling ones first, while there is time."""
    table(
        "step", "counted GiB", "allocated GiB", "difference", "reserved GiB", "counted / reserved", "first iteration s"
    )
    apart = []
    for name, plan in (TOY_MEMORY if bench.toy else MEMORY).items():
        if bench.left_s < 15:
            row(name, "left out")
            continue
        with survived(name), memory_explained("take a smaller one"):
            settings = bench.placed(plan)
            base = freed(bench)
            counted = training_bytes(settings, runs_bfloat16(bench.device, settings.precision))
            step, batch = Stepper(settings, new_state(settings)), batch_of(settings)
            began = time.perf_counter()
            step(batch).read()
            first_s = time.perf_counter() - began
            step(batch).read()
            freed(bench)  # the scratch space in which cuDNN tried its algorithms
            for _ in range(4):
                step(batch).read()
            cells = f"{counted / GIB:.2f}", "-", "-", "-", "-"
            if not bench.toy:
                most, reserved = torch.cuda.max_memory_allocated() - base, torch.cuda.max_memory_reserved()
                apart.append(counted / most - 1)
                cells = (
                    f"{counted / GIB:.2f}",
                    f"{most / GIB:.2f}",
                    f"{apart[-1]:+.0%}",
                    f"{reserved / GIB:.2f}",
                    f"{counted / reserved:.0%}",
                )
            row(name, *cells, f"{first_s:.1f}")
            del step
    if apart:
        middle = statistics.median(apart)
        result = (
            f"{len(apart)} steps: {min(apart):+.0%} to {max(apart):+.0%} of what is allocated, median {middle:+.0%}"
        )
        bench.owe(f"counted against allocated and reserved memory, {len(MEMORY)} steps", "memory", result)
    elif bench.toy:
        show("\nOn a CPU only the count: what is allocated is not known there.")
