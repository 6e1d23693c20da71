"""Predict one CT-like volume from .nii.gz to .nii.gz: time by stage, and the most memory it took.

python -m tests.benchmarks.predict [--shape 400 512 512] [--labels 7] [--factor 4] [--model MODEL]: with MODEL, trained
on the same grid; else with the paper's network and weights that were never trained. Borders are then everywhere, so
that the way back takes far longer than a trained network's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import made

from autoseg.grid import Grid, Voxels
from autoseg.inference.models import save_model
from autoseg.network.unet import UNet3D
from autoseg.plan import Label, NetworkPlan, Plan, Stage
from autoseg.volumes import write_array
from autoseg.workers import peak_memory_gib

PAPER = NetworkPlan(stages=tuple(Stage(features=f) for f in ((32, 64), (64, 128), (128, 256), (256, 512))))


def plan_of(labels: int, factor: float) -> Plan:
    """Return the paper's plan for so many organs, without limit to the tile's depth."""
    names = tuple(Label(value=n, name=f"organ {n}") for n in range(1, labels + 1))
    return made.plan(
        labels=names,
        network=PAPER,
        crop_size=(64, 64, 64),
        downsampling=(factor,) * 3,
        tile_depth=None,
        tile_overlap=0.5,
    )


def write_scan(file: Path, shape: Voxels) -> None:
    """Write a body of soft tissue in air with noise, as CT compresses badly."""
    rng = np.random.default_rng(0)
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    inside = (y[:, None] / 0.7) ** 2 + (x[None] / 0.9) ** 2 < 1
    scan = np.empty(shape, np.int16)
    for number, height in enumerate(z):
        organs = 80 * np.sin(7 * height) * np.sin(9 * y[:, None]) * np.sin(8 * x[None])
        scan[number] = np.where(inside, 50 + organs, -1000) + rng.normal(0, 12, shape[1:])
    write_array(file, scan, Grid(shape=shape, spacing_mm=(1.0, 0.8, 0.8)))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(400, 512, 512))
    parser.add_argument("--labels", type=int, default=7)
    parser.add_argument("--factor", type=float, default=4.0)
    parser.add_argument("--model", type=Path, help="a trained model or RUN instead")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scan, mask, model = (Path(folder) / name for name in ("scan.nii.gz", "mask.nii.gz", "model.autoseg"))
        write_scan(scan, tuple(asked.shape))
        plan = plan_of(asked.labels, asked.factor)
        save_model(model, plan, UNet3D(1, plan.classes, plan.network).state_dict(), {})
        began = time.perf_counter()
        from autoseg.inference.jobs import Job
        from autoseg.inference.model import open_model
        from autoseg.inference.predict import predict
        from autoseg.inference.stages import Stopwatch
        from autoseg.inference.statistics import Statistics

        watch = Stopwatch()
        opened = open_model(asked.model or model, "cpu")
        loaded = time.perf_counter()
        predict(opened, (Job(name="scan", images=(scan,), out=mask),), Statistics(None), watch=watch)
        show = [("load", loaded - began), *watch.seconds.items(), ("all", time.perf_counter() - began)]
        for stage, seconds in show:
            print(f"| {stage} | {seconds:.2f} |")  # noqa: T201
        print(f"peak {peak_memory_gib():.2f} GiB")  # noqa: T201


if __name__ == "__main__":
    main()
