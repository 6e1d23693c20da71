"""The memory that predicting with two stages is said to take, what it takes, and how long: a process for each scan.

python -m tests.benchmarks.second_memory [--shape 128 256 256]: a phantom's scan, a table of one row for each choice of
organs that the second stage looks at again, or for `--organs artery vein` alone. The networks are real but for their
answers, which go by intensity, so that no training is needed and the boxes are those around the organs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

import made

from autoseg.imaging.grid import Grid, Voxels
from autoseg.imaging.volumes import write_array
from autoseg.inference.inputs import Input
from autoseg.inference.model import Model
from autoseg.inference.predict import predict
from autoseg.inference.stage import InferenceOptions, Stage
from autoseg.inference.statistics import Statistics
from autoseg.labels import Label
from autoseg.machine import peak_memory_gib
from autoseg.network.build import build
from autoseg.phantom.scan import ORGANS
from autoseg.plan import Intensity, Level, NetworkPlan, Plan, first_seen
from tests.benchmarks.predict import PAPER, phantom

CHOICES = (("pancreas",), ("artery", "vein"), ("liver", "artery", "vein"))
SPACING_MM = (1.5, 1.0, 1.0)
ORGAN_HU, MOST_HU, BETWEEN = 300, 150, 2.5  # of the chosen organs, of all else, and normalised what tells them apart
FINER = NetworkPlan(stages=tuple(Level(features=(n, n)) for n in (16, 32, 64, 128)))
LABELS = tuple(Label(value=n, name=name) for n, name in enumerate(ORGANS, start=1))


class ByIntensity(nn.Module):
    """A network whose answer is overwritten: what is bright is one class, all else background."""

    def __init__(self, plan: Plan, index: int) -> None:
        super().__init__()
        self.network, self.index = build(plan).eval(), index

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(image)
        logits.zero_()[:, 0] = 6.0
        logits[:, self.index].masked_fill_(image[:, 0] > BETWEEN, 12.0)
        return logits


def model(names: tuple[str, ...]) -> Model:
    """Return two stages, the second of some organs at twice the resolution."""
    again = tuple(label for label in LABELS if label.name in names)
    seen = Intensity(kind="probability", low=0.0, high=1.0)
    shared = {"spacing_mm": None, "tile_depth": None}
    first = made.plan(labels=LABELS, network=PAPER, crop_size=(32, 32, 32), downsampling=(4, 4, 4), **shared)
    second = made.plan(
        labels=again, channels=("CT", *map(first_seen, again)), intensity=(made.CT, *[seen] * len(again)),
        network=FINER, crop_size=(64, 64, 64), downsampling=(2, 2, 2), margin_mm=12.0, **shared,
    )  # fmt: skip
    stages = ((first, again[0].value), (second, 1))
    return Model(
        stages=tuple(Stage(networks=(ByIntensity(plan, index),), plan=plan) for plan, index in stages),
        trained_on=frozenset(),
    )


def scan(file: Path, shape: Voxels, names: tuple[str, ...]) -> None:
    """Write a phantom in which some organs are bright."""
    image, label = phantom(9, shape)
    chosen = np.isin(label, [one.value for one in LABELS if one.name in names])
    write_array(
        file,
        np.where(chosen, ORGAN_HU, np.minimum(image, MOST_HU)).astype(np.int16),
        Grid(shape=shape, spacing_mm=SPACING_MM),
    )


def measure(file: Path, names: tuple[str, ...], probabilities: bool) -> dict[str, object]:
    """Predict a scan; return what was said before, and the most memory that this process has had."""
    lines: list[str] = []
    job = Input(name="scan", images=(file,), out=file.with_name("mask.nii.gz"))
    options = InferenceOptions(probabilities=probabilities)
    predict(model(names), (job,), Statistics(None), options, tell=lines.append)
    return {"said": lines, "peak_gib": peak_memory_gib()}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(128, 256, 256))
    parser.add_argument("--organs", nargs="+")
    parser.add_argument("--here", nargs="+", help=argparse.SUPPRESS)  # a file and organs, in a process of its own
    parser.add_argument("--probabilities", action="store_true")
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(measure(Path(asked.here[0]), tuple(asked.here[1:]), asked.probabilities)))  # noqa: T201
        return
    z, y, x = asked.shape
    columns = ("organs of the second stage", "it looked at", "predicted GiB", "measured GiB", "seconds")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")  # noqa: T201
    for names in (tuple(asked.organs),) if asked.organs else CHOICES:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "scan.nii.gz"
            scan(file, (z, y, x), names)
            command = [sys.executable, "-m", "tests.benchmarks.second_memory", "--here", str(file), *names]
            command += ["--probabilities"] if asked.probabilities else []
            began = time.monotonic()
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            seconds = time.monotonic() - began  # those in which Python starts among them
        before, look = result["said"]
        print(f"| {', '.join(names)} | {look} | {before} | {result['peak_gib']:.2f} | {seconds:.1f} |")  # noqa: T201


if __name__ == "__main__":
    main()
