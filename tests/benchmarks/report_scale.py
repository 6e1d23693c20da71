"""The report of a run with many organs or many cases: CPU seconds, and the size of its page.

    python -m tests.benchmarks.report_scale FOLDER --organs 104 --cases 40
    python -m tests.benchmarks.report_scale FOLDER --organs 2 --cases 10000 --side 16 --distinct 200

Nothing is trained: the masks are the truth, shifted and torn, so that there are scores of every kind. Of many cases all
but the first may be links to these, with a Dice of their own: they are not planned for, but listed and drawn as any.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.dataset.origin import dataset_of, splits_of
from autoseg.dataset.split import Split
from autoseg.dataset.split_file import splits_text
from autoseg.evaluation.scores import Row, score_rows, write_scores
from autoseg.imaging.grid import Grid, Triple
from autoseg.imaging.volumes import read_label, write_array, write_label
from autoseg.machine import peak_memory_gib
from autoseg.options import PlanOptions, ReportOptions
from autoseg.run import Run
from autoseg.steps.plan import plan
from autoseg.steps.report import report

SPACING_MM: Triple = (3.0, 2.0, 2.0)
Array = npt.NDArray[np.int32]


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("--organs", type=int, default=104)
    asked.add_argument("--cases", type=int, default=40)
    asked.add_argument("--side", type=int, default=96, help="voxels of an axis")
    asked.add_argument("--distinct", type=int, help="cases that are no links to others; all, by default")
    given = asked.parse_args()
    distinct = min(given.cases, given.distinct or given.cases)
    data, run = given.folder / "data", Run(given.folder / "RUN")
    if not run.scores_file.is_file():
        write_dataset(data, given.organs, distinct, given.side)
        plan(data, run, PlanOptions(device="cpu", iterations=10))
        link_cases(data, run, distinct, given.cases)
        write_predictions(run, distinct)
    began, spent = time.monotonic(), cpu_seconds()
    report(run, ReportOptions())
    page = run.report.page.stat().st_size / 1e6
    files = sum(1 for file in run.report.folder.rglob("*") if file.is_file())
    sys.stdout.write(
        f"{given.organs} organs, {given.cases} cases: {cpu_seconds() - spent:.0f} CPU s, "
        f"{time.monotonic() - began:.0f} s, report.html {page:.1f} MB, {files} files, "
        f"parent {1024 * peak_memory_gib():.0f} MB\n"
    )


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def write_dataset(folder: Path, organs: int, cases: int, side: int) -> None:
    """Write a dataset in nnU-Net's layout: spheres and tubes on a lattice, a little elsewhere in every case."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    names = {f"organ {n:03d} of the left upper body": n for n in range(1, organs + 1)}
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, **names}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    grid = Grid(shape=(side, side, side), spacing_mm=SPACING_MM)
    for number in range(cases):
        rng = np.random.default_rng(number)
        label = lattice(rng, organs, side)
        image = np.where(label > 0, 40 + 2 * label, -60) + rng.normal(0, 15, label.shape)
        write_array(folder / "imagesTr" / f"case_{number:04d}_0000.nii.gz", image.astype(np.int16), grid)
        write_label(folder / "labelsTr" / f"case_{number:04d}.nii.gz", label, grid)


def lattice(rng: np.random.Generator, organs: int, side: int) -> Array:
    """Return a label map (Z, Y, X) of ellipsoids, one an organ."""
    each = int(np.ceil(organs ** (1 / 3)))
    step, label = side / each, np.zeros((side, side, side), np.int32)
    places = np.stack(np.meshgrid(*[np.arange(each)] * 3, indexing="ij"), -1).reshape(-1, 3)[:organs]
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1)
    for value, place in enumerate(places, start=1):
        centre = (place + 0.5) * step + rng.normal(0, 0.05 * step, 3)
        radii = step * rng.uniform(0.2, 0.48, 3)
        low, high = (np.clip(centre + sign * (radii + 1), 0, side).astype(int) for sign in (-1, 1))
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        label[box][(((grid[box] - centre) / radii) ** 2).sum(-1) < 1] = value
    return label


def link_cases(data: Path, run: Run, distinct: int, cases: int) -> None:
    """Add cases to a planned dataset: each the files of another one, on its side of the split."""
    for number in range(distinct, cases):
        for file in ("imagesTr/case_{:04d}_0000.nii.gz", "labelsTr/case_{:04d}.nii.gz"):
            os.link(data / file.format(number % distinct), data / file.format(number))
    sides = splits_of(run)[0].sides()
    every = {case: side for side, names in sides.items() for case in names}
    every |= {f"case_{n:04d}": every[f"case_{n % distinct:04d}"] for n in range(distinct, cases)}
    split = Split(**{side: tuple(case for case, own in every.items() if own == side) for side in sides})
    run.split_file.write_text(splits_text([split]), encoding="utf-8")


def write_predictions(run: Run, distinct: int) -> None:
    """Write masks and scores.csv as `evaluate` would."""
    write_scores(_rows(run, distinct), run.scores_file)


def _rows(run: Run, distinct: int) -> Iterator[Row]:
    """Write the masks, and yield the rows of their scores; the Dice of a link is lower than that of its case."""
    organs = {label: (label.value,) for label in run.plan().labels}
    sides = {case: side for side, cases in splits_of(run)[0].sides().items() for case in cases}
    known: list[list[Row]] = []
    for number, case in enumerate(dataset_of(run).cases):
        rng, about = np.random.default_rng(10_000 + number), {"case": case.id, "split": sides[case.id]}
        file = run.fold(0).prediction(case.id)
        if number >= distinct:
            os.link(run.fold(0).prediction(str(known[number % distinct][0]["case"])), file)
            lost = rng.uniform(0.8, 1.0)
            for row in known[number % distinct]:
                is_dice = row["metric"].endswith("dice") and row["value"] is not None
                yield {**row, **about, "value": lost * row["value"] if is_dice else row["value"]}
            continue
        truth = read_label(case.label)
        mask = np.roll(truth.array, rng.integers(-1, 2, 3), (0, 1, 2))
        mask[rng.random(mask.shape) < rng.uniform(0, 0.1)] = 0
        mask[mask == rng.integers(1, len(organs) + 1)] = 0
        file.parent.mkdir(parents=True, exist_ok=True)
        write_label(file, mask, truth.stored)
        rows = score_rows(mask, truth.array, organs, SPACING_MM, {"fold": 0, "grid": "original", **about})
        dice = [row for row in rows if row["metric"] == "dice" and row["value"]]
        rows += [
            {**row, "metric": "expected_dice", "value": min(1.0, row["value"] + rng.normal(0, 0.03))} for row in dice
        ]
        known.append(rows)
        yield from rows


if __name__ == "__main__":
    main()
