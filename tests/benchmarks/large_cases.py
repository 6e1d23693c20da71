"""Every verb on a few whole-body CTs with many organs: seconds, and the memory of all its processes together.

    python -m tests.benchmarks.large_cases FOLDER
    python -m tests.benchmarks.large_cases FOLDER --shape 300 256 256 --organs 104 --cases 3

The organs are ellipsoids on a lattice, in CTs of two energies. Verbs run as a user runs them, with the `-j` that they
choose; what they print of memory is printed, too. What is trained, for a few iterations, then gets weights that find
the organs (direction.py): a network that knows nothing finds all of them everywhere, which no user's does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from autoseg.imaging.grid import Grid, Voxels
from autoseg.imaging.volumes import write_array, write_label
from autoseg.run import Run
from tests.benchmarks.direction import LENGTH_HU, answer_by_direction, directions

SPACING_MM = (1.0, 0.8, 0.8)
NOISE_HU = 12.0
ITERATIONS = 4
LOOK_S = 0.3
GIB = 1 << 30


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("--shape", type=int, nargs=3, default=(1000, 512, 512), help="Voxels, z y x.")
    asked.add_argument("--organs", type=int, default=120)
    asked.add_argument("--cases", type=int, default=2)
    given = asked.parse_args()
    data, run, masks = given.folder / "data", given.folder / "RUN", given.folder / "masks"
    if not data.exists():
        write_dataset(data, tuple(given.shape), given.organs, given.cases)
    free_gib = psutil.virtual_memory().available / GIB
    sys.stdout.write(
        f"{free_gib:.1f} GiB free\n\n| verb | seconds | GiB of all processes | processes |\n|---|---|---|---|\n"
    )
    for arguments in (
        ("check", data),
        ("plan", data, run, "--device", "cpu", "--set", f"iterations={ITERATIONS}", "--set", "precision=float32"),
        ("preprocess", run),
        ("train", run),
    ):
        _tell_cost([str(argument) for argument in arguments])
    answer_by_direction(Run(run).fold(0).model)
    for arguments in (
        ("predict", run, data / "imagesTr", masks, "--device", "cpu", "--verbose"),
        ("evaluate", run, "--device", "cpu"),
        ("score", masks, data / "labelsTr", "--out", given.folder / "scores.csv"),
        ("report", run),
    ):
        _tell_cost([str(argument) for argument in arguments])


def write_dataset(folder: Path, shape: Voxels, organs: int, cases: int) -> None:
    """Write cases in nnU-Net's layout: a body with so many ellipsoids, a little different in every case."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    labels = {"background": 0, **{f"organ {value}": value for value in range(1, organs + 1)}}
    about = {"channel_names": {"0": "CT", "1": "CT of a higher energy"}, "labels": labels, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    grid = Grid(shape=shape, spacing_mm=SPACING_MM)
    for number in range(cases):
        draw = np.random.default_rng(number)
        label = np.zeros(shape, np.int32)
        for value, (centre, radii) in enumerate(_places(shape, organs, draw), start=1):
            _paint(label, value, centre, radii)
        towards = np.concatenate([np.zeros((1, 2)), LENGTH_HU * directions(organs)]).astype(np.float32)
        for channel in range(2):
            image = draw.normal(0, NOISE_HU, shape).astype(np.float32)
            image += towards[label, channel]
            write_array(folder / "imagesTr" / f"case_{number}_{channel:04d}.nii.gz", image.astype(np.int16), grid)
        write_label(folder / "labelsTr" / f"case_{number}.nii.gz", label, grid)


def _places(
    shape: Voxels, organs: int, draw: np.random.Generator
) -> Iterator[tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]]]:
    """Yield centre and radii of each organ, in the cells of a lattice."""
    side = 1
    while side**3 < organs:
        side += 1
    cells = np.array(shape) / side
    for number in range(organs):
        place = np.array(np.unravel_index(number, (side, side, side)))
        yield (place + draw.uniform(0.45, 0.55, 3)) * cells, draw.uniform(0.15, 0.44, 3) * cells


def _paint(label: np.ndarray[tuple[int, ...], np.dtype[np.int32]], value: int, centre: object, radii: object) -> None:
    """Set the voxels of an ellipsoid."""
    middle, half = np.asarray(centre), np.asarray(radii)
    starts, stops = np.floor(middle - half).astype(int), np.ceil(middle + half).astype(int) + 1
    spans = zip(starts, stops, label.shape, strict=True)
    box = tuple(slice(max(0, start), min(stop, length)) for start, stop, length in spans)
    places = np.ogrid[box]
    inside = sum(((axis - m) / h) ** 2 for axis, m, h in zip(places, middle, half, strict=True)) < 1
    label[box][inside] = value


def _tell_cost(arguments: list[str]) -> None:
    """Run a verb and print a row, and the lines that it prints of memory."""
    began = time.monotonic()
    program = subprocess.Popen(
        [sys.executable, "-m", "autoseg", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    most, count = 0.0, 0
    while program.poll() is None:
        gib, processes = _memory_of(program.pid)
        most, count = max(most, gib), max(count, processes)
        time.sleep(LOOK_S)
    printed = program.communicate()[0].splitlines()
    seconds = time.monotonic() - began
    sys.stdout.write(f"| {arguments[0]} | {seconds:.0f} | {most:.1f} | {count} |\n")
    shown = printed[-5:] if program.returncode else [line for line in printed if "GiB" in line or "memory" in line]
    for line in shown:
        sys.stdout.write(f"  {line}\n")
    sys.stdout.flush()
    if program.returncode:
        raise SystemExit(f"{arguments[0]}: exit code {program.returncode}")


def _memory_of(number: int) -> tuple[float, int]:
    """Return the memory of a process and of all that it started, in GiB, what they share once, and their number."""
    shared = 0
    try:
        processes = [psutil.Process(number), *psutil.Process(number).children(recursive=True)]
    except psutil.Error:
        return 0.0, 0
    for process in processes:
        try:
            shared += process.memory_full_info().pss
        except psutil.Error:  # it has ended
            continue
    return shared / GIB, len(processes)


if __name__ == "__main__":
    main()
