"""Figures of prediction on a GPU: a large CT, from array to mask."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from autoseg.data.preprocess import normalise
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import Volume
from autoseg.inference.cost import Stopwatch
from autoseg.inference.opening import open_model
from autoseg.machine import GIB
from autoseg.network.device import runs_bfloat16
from autoseg.network.memory import tile_bytes
from autoseg.run import FoldFolder
from autoseg.training.loop import Fold
from autoseg.training.loop import train as train_fold

from . import predict as large_ct
from .gpu_bench import Bench, row, show, table
from .gpu_plans import made


def predict(bench: Bench) -> None:
    """Predict a CT of 512×512×400, from array to mask, by a network that has learnt phantoms for a moment."""
    working, shape = ((24, 32, 32), (48, 64, 64)) if bench.toy else (large_ct.WORKING, (400, 512, 512))
    with tempfile.TemporaryDirectory() as folder:
        file = _trained_on_phantoms(bench, Path(folder), working)
        image, _ = large_ct.phantom(9, shape)
        image += np.random.default_rng(0).normal(0, 12, shape).astype(np.float32)
        model = open_model(file, bench.device)
    grid = Grid(shape=shape, spacing_mm=(1.0, 0.8, 0.8))
    volume = Volume(array=image.astype(np.int16)[None], grid=grid, stored=grid)
    columns = tuple(Stopwatch().seconds)
    table("a large CT, from array to mask", *(f"{name} s" for name in columns), "all s", "allocated GiB")
    for number in range(3):
        if not bench.toy:
            torch.cuda.reset_peak_memory_stats()
        watch, began = Stopwatch(), time.perf_counter()
        mask = model.predict(volume, watch=watch).mask.array
        took = time.perf_counter() - began
        most = 0.0 if bench.toy else torch.cuda.max_memory_allocated() / GIB
        row(f"time {number + 1}", *(f"{watch.seconds[name]:.3f}" for name in columns), f"{took:.2f}", f"{most:.2f}")
    counted = tile_bytes(model.plan, working, runs_bfloat16(bench.device, model.plan.precision)) / GIB
    show(
        f"\nOrgans in the mask: {len(np.unique(mask)) - 1}; a tile of the working grid is counted as {counted:.2f} GiB."
    )
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in watch.seconds.items() if seconds >= 0.005)
    bench.owe("a large CT, seconds by stage", "predict", f"{took:.2f} from array to mask: {stages}")


def _trained_on_phantoms(bench: Bench, folder: Path, working: tuple[int, int, int]) -> Path:
    """Train the paper's network for some seconds, so that its masks have the borders of organs; return its file."""
    changes = {"crop_size": (16, 16, 16), "iterations": 4} if bench.toy else {}
    plan = bench.placed(large_ct.plan_of(300), **changes)
    cases = []
    for index in range(2 if bench.toy else 4):
        image, label = large_ct.phantom(index, working)
        cases.append(made.cached_case(folder, f"case{index}", normalise(image[None], plan.intensity), label))
    fold = Fold(
        plan=plan,
        training=tuple(cases[1:]),
        validation=tuple(cases[:1]),
        files=FoldFolder(folder / "fold-0"),
        workers=0,
    )
    train_fold(fold, lambda _: None, lambda: bench.left_s < 20)
    return fold.files.model
