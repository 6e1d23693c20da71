"""Predict one CT-like volume from .nii.gz to .nii.gz: time by stage, and the most memory it took.

python -m tests.benchmarks.predict train MODEL [--width 16]: trains the paper's network, or the lean one of so many
features that `plan` derives, for some minutes on phantoms, so that its masks have the borders of organs, not of noise.
python -m tests.benchmarks.predict scan FILE [--shape 400 512 512]: writes a phantom of that size.
python -m tests.benchmarks.predict run MODEL FILE: predicts it in a fresh process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))

import made

from autoseg.data.preprocess import normalise
from autoseg.imaging.grid import Grid, Voxels
from autoseg.imaging.volumes import write_array
from autoseg.labels import Label
from autoseg.machine import peak_memory_gib
from autoseg.phantom.scan import ORGANS, phantom_case
from autoseg.plan import Level, LossPlan, NetworkPlan, Plan
from autoseg.planning.recipe import WIDEST
from autoseg.planning.rules import stages
from autoseg.run import FoldFolder

PAPER = NetworkPlan(stages=tuple(Level(features=f) for f in ((32, 64), (64, 128), (128, 256), (256, 512))))
WORKING = (100, 128, 128)


def network_of(width: int | None) -> NetworkPlan:
    """Return the paper's network, or that of `plan` with so many features in the first of five levels."""
    if width is None:
        return PAPER
    return NetworkPlan(
        stages=stages([(2, 2, 2)] * 4, (4.0, 3.2, 3.2), width, WIDEST), activation="leaky-relu", up="skip"
    )


def plan_of(iterations: int, width: int | None = None) -> Plan:
    """Return the paper's plan for seven organs, but for small crops and a lower rate, which learn faster."""
    return made.plan(
        labels=tuple(Label(value=n, name=name) for n, name in enumerate(ORGANS, start=1)),
        network=network_of(width),
        crop_size=(32, 32, 32),
        batch_size=2,
        downsampling=(4.0, 4.0, 4.0),
        tile_depth=None,
        iterations=iterations,
        learning_rate=1e-3,
        organ_share=0.8,
        loss=LossPlan(kind="dice-ce", background=False, over="batch", weights=(1, 9, 9, 3, 3, 3, 9, 9)),
    )


def phantom(index: int, shape: Voxels) -> tuple[np.ndarray, np.ndarray]:
    """Return a phantom's image and label map, brought to a shape."""
    case = phantom_case(7, index)
    factors = [n / m for n, m in zip(shape, case.image.shape, strict=True)]
    image = ndimage.zoom(case.image.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest")
    return image, ndimage.zoom(case.label, factors, order=0, grid_mode=True, mode="nearest")


def train(model: Path, iterations: int, width: int | None) -> None:
    """Train a network and write its model file."""
    from autoseg.training.loop import Fold
    from autoseg.training.loop import train as train_fold

    plan = plan_of(iterations, width)
    with tempfile.TemporaryDirectory() as folder:
        cases = []
        for index in range(6):
            image, label = phantom(index, WORKING)
            cases.append(made.cached_case(Path(folder), f"case{index}", normalise(image[None], plan.intensity), label))
        fold = Fold(
            plan=plan,
            training=tuple(cases[:5]),
            validation=tuple(cases[5:]),
            files=FoldFolder(Path(folder) / "fold-0"),
            workers=0,
        )
        train_fold(fold, lambda now: print(now.iteration, now.dice) if now.iteration % 10 == 0 else None, lambda: False)  # noqa: T201
        model.write_bytes(fold.files.model.read_bytes())


def scan(file: Path, shape: Voxels) -> None:
    """Write a phantom of a size, with noise, as CT compresses badly."""
    image, _ = phantom(9, shape)
    image += np.random.default_rng(0).normal(0, 12, shape).astype(np.float32)
    write_array(file, image.astype(np.int16), Grid(shape=shape, spacing_mm=(1.0, 0.8, 0.8)))


def run(model: Path, file: Path) -> None:
    """Predict a scan; print the seconds of each stage."""
    began = time.perf_counter()
    from autoseg.inference.cost import Stopwatch
    from autoseg.inference.inputs import Input
    from autoseg.inference.opening import open_model
    from autoseg.inference.predict import predict
    from autoseg.inference.statistics import Statistics

    watch = Stopwatch()
    opened = open_model(model, "cpu")
    loaded = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        mask = Path(folder) / "mask.nii.gz"
        predict(opened, (Input(name="scan", images=(file,), out=mask),), Statistics(None), watch=watch)
    for stage, seconds in (("load", loaded - began), *watch.seconds.items(), ("all", time.perf_counter() - began)):
        print(f"| {stage} | {seconds:.2f} |")  # noqa: T201
    print(f"peak {peak_memory_gib():.2f} GiB")  # noqa: T201


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "scan", "run"))
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--shape", type=int, nargs=3, default=(400, 512, 512))
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--width", type=int)
    asked = parser.parse_args()
    if asked.what == "train":
        train(asked.files[0], asked.iterations, asked.width)
    elif asked.what == "scan":
        z, y, x = asked.shape
        scan(asked.files[0], (z, y, x))
    else:
        run(*asked.files)


if __name__ == "__main__":
    main()
