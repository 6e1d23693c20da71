"""What a batch costs on its way to the training, and what crops cost the workers: python -m tests.benchmarks.feed.

Processor time, which other programs on the machine disturb little; tables in Markdown, for docs/benchmarks.md.
`way`: the training process's time for a batch that is ready, through a pipe as numpy arrays and in shared memory, both
in one run; `half` is how a GPU gets it, with the copy into (here unpinned) memory of its own. `crops`: the paper's
recipe and its augmentation, by number of workers. `crop`: what one costs a worker, by who makes it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import psutil
import torch
from batchgenerators.transforms.abstract_transforms import AbstractTransform

sys.path.insert(0, str(Path(__file__).parents[1]))

import made

from autoseg.data import batches
from autoseg.data.augment import transforms
from autoseg.data.batches import Batch, open_batches
from autoseg.data.cutouts import CutOut
from autoseg.data.cutting import CropRequest
from autoseg.imaging.grid import Voxels
from autoseg.machine import machine_in_words
from autoseg.plan import AugmentationPlan, Plan

SIZES: dict[str, tuple[int, Voxels, int]] = {  # MB in float32: crops, of what size, how many batches are counted
    "4": (3, (64, 64, 64), 100),
    "21": (2, (128, 128, 128), 40),
    "240": (2, (288, 288, 288), 10),
}
WAYS = {"pipe": (np.float32, False), "shared": (np.float32, True), "half": (np.float16, True)}
ROUNDS = 3
PAPER = AugmentationPlan(rotation_deg=20, translation_voxels=20, bspline_spacing_voxels=24, bspline_voxels=4)
RICH = PAPER.model_copy(update={"scaling": 0.2, "brightness": 0.1, "contrast": 0.2, "noise": 0.1})


class Ready(AbstractTransform):  # type: ignore[misc]
    """Gives the same batch of noise again and again: what is measured is its way."""

    def __init__(self, plan: Plan, image_type: type[np.floating]) -> None:
        """Say what to make."""
        self.shape, self.image_type = (plan.batch_size, 1, *plan.crop_size), image_type
        self.batch: Batch = {}

    def __call__(self, **_: object) -> Batch:
        """Return the batch, made at the first call."""
        if not self.batch:
            image = np.random.default_rng(0).random(self.shape, dtype=np.float32).astype(self.image_type)
            self.batch = {"data": image, "seg": np.zeros(self.shape, np.uint8), "keys": ["a"], "hidden": [()]}
        return dict(self.batch)


@contextmanager
def on_its_way(folder: Path, plan: Plan, way: str) -> Iterator[Iterator[Batch]]:
    """Give ready batches that come from one worker."""
    image_type, is_shared = WAYS[way]
    reserve = batches.reserve if is_shared else lambda *_: None
    with (
        mock.patch.object(batches, "_augmentation", lambda plan: Ready(plan, image_type)),
        mock.patch.object(batches, "reserve", reserve),
        open_batches(made.easy_cases(folder, 1), plan, 0, 1) as stream,
    ):
        yield stream


def cost_ms(stream: Iterator[Batch], count: int, copied: bool) -> float:
    """Return the processor time of this process for a batch that it takes, and reads once where it is not copied."""
    memory: dict[str, torch.Tensor] = {}
    spent = 0.0
    for number in range(count + 5):
        began = time.process_time()
        batch = next(stream)
        for name in ("data", "seg"):
            tensor = torch.as_tensor(batch[name])
            if copied:
                memory.setdefault(name, torch.empty_like(tensor)).copy_(tensor)
        if number >= 5:
            spent += time.process_time() - began
    return 1e3 * spent / count


def way() -> None:
    """Print what a batch costs the training process, by size and way; the least of some rounds, which alternate."""
    torch.set_num_threads(1)
    show(
        f"{machine_in_words()}\n\n| MB | pipe, ms | shared memory, ms | half precision, copied, ms |\n|---|---|---|---|"
    )
    for size, (crops, crop, count) in SIZES.items():
        plan, costs = made.plan(batch_size=crops, crop_size=crop), dict.fromkeys(WAYS, float("inf"))
        for _ in range(ROUNDS):
            for name in WAYS:
                with tempfile.TemporaryDirectory() as folder, on_its_way(Path(folder), plan, name) as stream:
                    costs[name] = min(costs[name], cost_ms(stream, count, copied=name == "half"))
        show(f"| {size} | " + " | ".join(f"{cost:.1f}" for cost in costs.values()) + " |")


def crops(workers: tuple[int, ...], seconds: float) -> None:
    """Print crops a second, and the processor time that a crop takes the workers and the training process."""
    show(
        f"{machine_in_words()}\n\n| augmentation | workers | crops/s | ms of the workers for a crop | of this process |"
    )
    show("|---|---|---|---|---|")
    for name, augmentation in {"the paper's": PAPER, "a derived plan's": RICH}.items():
        for count in workers:
            plan = made.plan(batch_size=3, crop_size=(64, 64, 64), augmentation=augmentation)
            with tempfile.TemporaryDirectory() as folder:
                cases = made.easy_cases(Path(folder), 3, (115, 128, 128))
                with open_batches(cases, plan, 0, count) as stream:
                    for _ in range(4 * count):
                        next(stream)
                    began, own, others = time.monotonic(), time.process_time(), _children_s()
                    taken = 0
                    while time.monotonic() - began < seconds:
                        taken += len(next(stream)["keys"])
                    took, own, others = time.monotonic() - began, time.process_time() - own, _children_s() - others
            show(f"| {name} | {count} | {taken / took:.0f} | {1e3 * others / taken:.1f} | {1e3 * own / taken:.1f} |")


def crop() -> None:
    """Print what a crop costs a worker that makes it, and one that cuts out and draws; the least of some rounds."""
    torch.set_num_threads(1)
    show(f"{machine_in_words()}\n\n| augmentation | made by | ms of a worker a crop | MB a crop |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        case = made.random_case(Path(folder), (115, 128, 128))
        requests = [CropRequest(case=case, centre=(57.0, 63.0, 63.0))] * 3
        for name, augmentation in {"the paper's": PAPER, "a derived plan's": RICH}.items():
            plan = made.plan(crop_size=(64, 64, 64), augmentation=augmentation)
            for who, transform in {"workers": transforms(plan), "the device": CutOut(plan)}.items():
                least_s = float("inf")
                for number in range(8):
                    began = time.process_time()
                    batch = transform(requests=requests, seeds=[3 * number + n for n in range(3)])
                    least_s = min(least_s, time.process_time() - began)
                size = sum(value.nbytes for value in batch.values() if isinstance(value, np.ndarray))
                show(f"| {name} | {who} | {1e3 * least_s / 3:.1f} | {size / 3e6:.2f} |")


def _children_s() -> float:
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(t.user + t.system for t in times)


def show(*texts: object) -> None:
    """Print at once."""
    print(*texts, flush=True)  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("way", "crops", "crop"))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    if asked.what == "way":
        way()
    elif asked.what == "crop":
        crop()
    else:
        crops(tuple(asked.workers), asked.seconds)
