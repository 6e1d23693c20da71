"""What each verb costs a case as a dataset grows: CPU milliseconds, the parent's memory, and the exponents.

    nice python -m tests.benchmarks.growth FOLDER --cases 100 1000 4000
    nice python -m tests.benchmarks.growth OTHER --cases 1000 10000 --verbs check plan preprocess

The cases are tiny (16³ voxels, two organs), so that what is measured is what a case costs beside its voxels. Each verb
runs in a process of its own; what it takes to load the libraries is not counted. An exponent of 1 is a cost that grows
as the cases do; it is below where a verb has a fixed cost, such as the start of worker processes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERBS = ("check", "plan", "preprocess", "train", "predict", "evaluate", "score", "report")
SIDE = 16
JOBS = 2


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("--cases", type=int, nargs="+", default=[100, 1000, 4000])
    asked.add_argument("--verbs", nargs="+", choices=VERBS, default=list(VERBS))
    asked.add_argument("--measure", choices=VERBS, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.measure:
        _measure(given.measure, given.folder)
        return
    costs: dict[str, list[dict[str, float]]] = {verb: [] for verb in given.verbs}
    for count in given.cases:
        place = given.folder / str(count)
        if place.exists():
            raise SystemExit(f"{place}: exists; what is done costs nothing again; give another FOLDER")
        write_dataset(place / "data", count)
        for verb in given.verbs:
            cost = _cost(verb, place)
            costs[verb].append(cost)
            sys.stdout.write(f"{verb}, {count} cases: {cost['cpu_s']:.1f} CPU s, parent {cost['peak_mb']:.0f} MB\n")
            sys.stdout.flush()
        shutil.rmtree(place / "RUN" / "cache", ignore_errors=True)
    sys.stdout.write(table(given.cases, costs))


def table(cases: list[int], costs: dict[str, list[dict[str, float]]]) -> str:
    """Return the costs as a table in Markdown: a row a verb.

    >>> print(table([10, 100], {"check": [{"cpu_s": 1.0, "peak_mb": 90.0}, {"cpu_s": 10.0, "peak_mb": 91.0}]}))
    | verb | CPU ms a case at 10 | 100 | exponent | parent MB at 10 | 100 |
    |---|---|---|---|---|---|
    | check | 100 | 100 | 1.00 | 90 | 91 |
    <BLANKLINE>
    """
    sizes = [str(count) for count in cases]
    exponents = [""] if len(cases) == 2 else [f" {a} to {b}" for a, b in pairwise(sizes)]
    head = [
        "verb",
        f"CPU ms a case at {sizes[0]}",
        *sizes[1:],
        *(f"exponent{between}" for between in exponents if len(cases) > 1),
        f"parent MB at {sizes[0]}",
        *sizes[1:],
    ]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for verb, of_verb in costs.items():
        spent = [cost["cpu_s"] for cost in of_verb]
        steps = pairwise(zip(cases, spent, strict=True))
        cells = [verb, *(f"{1000 * s / n:.3g}" for n, s in zip(cases, spent, strict=True))]
        cells += [f"{math.log(t / s) / math.log(m / n):.2f}" for (n, s), (m, t) in steps]
        cells += [f"{cost['peak_mb']:.0f}" for cost in of_verb]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_dataset(folder: Path, count: int) -> None:
    """Write a dataset in nnU-Net's layout: a body with two ellipsoids, a little different in every case."""
    import numpy as np

    from autoseg.imaging.grid import Grid
    from autoseg.imaging.volumes import write_array, write_label

    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    about = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "liver": 1, "spleen": 2}}
    (folder / "dataset.json").write_text(json.dumps({**about, "file_ending": ".nii.gz"}), encoding="utf-8")
    grid = Grid(shape=(SIDE, SIDE, SIDE), spacing_mm=(3.0, 2.0, 2.0))
    places = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), -1)
    for number in range(count):
        draw = np.random.default_rng(number)
        image, label = draw.normal(0, 1, grid.shape), np.zeros(grid.shape, np.int32)
        image += 20 * (np.abs(places - draw.uniform(6.5, 8.5, 3)) < draw.uniform(5.5, 7.5, 3)).all(-1)
        for value, middle in ((1, (8, 8, 5)), (2, (8, 8, 11))):
            centre, radii = middle + draw.normal(0, 0.5, 3), draw.uniform(1.5, 2.5, 3)
            inside = (((places - centre) / radii) ** 2).sum(-1) < 1
            label[inside], image[inside] = value, image[inside] + draw.uniform(5, 10) * value
        write_array(folder / "imagesTr" / f"case_{number:06d}_0000.nii.gz", image.astype(np.float32), grid)
        write_label(folder / "labelsTr" / f"case_{number:06d}.nii.gz", label, grid)


def _cost(verb: str, place: Path) -> dict[str, float]:
    call = [sys.executable, "-m", "tests.benchmarks.growth", str(place), "--measure", verb]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    cost: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return cost


def _measure(verb: str, place: Path) -> None:
    """Run a verb and print what it took, as JSON."""
    from autoseg.machine import peak_memory_gib

    call = _verbs(place)[verb]
    before = cpu_seconds()
    call()
    sys.stdout.write(f"\n{json.dumps({'cpu_s': cpu_seconds() - before, 'peak_mb': 1024 * peak_memory_gib()})}\n")


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those it started that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _verbs(place: Path) -> dict[str, Callable[[], object]]:
    """Return what runs each verb; imported here, as worker processes load this module, too."""
    from autoseg import options
    from autoseg.run import Run
    from autoseg.steps import check, evaluate, plan, predict, preprocess, report, score, train

    data, run, masks = place / "data", Run(place / "RUN"), place / "masks"
    checking = options.CheckOptions(json=place / "check.json", jobs=JOBS)
    planning = options.PlanOptions(device="cpu", iterations=2, jobs=JOBS)
    training, predicting = options.TrainOptions(workers=0), options.PredictOptions(device="cpu")
    scoring = options.ScoreOptions(out=place / "scores.csv", jobs=JOBS)
    return {
        "check": lambda: check.check_and_write(data, checking),
        "plan": lambda: plan.plan(data, run, planning),
        "preprocess": lambda: preprocess.preprocess(run, options.PreprocessOptions(jobs=JOBS)),
        "train": lambda: train.train(run, training, lambda _, __: None, lambda: False),
        "predict": lambda: predict.predict(run.folder, data / "imagesTr", masks, predicting, lambda _: None),
        "evaluate": lambda: evaluate.evaluate(run, options.EvaluateOptions(device="cpu")),
        "score": lambda: score.score(masks, data / "labelsTr", scoring),
        "report": lambda: report.report(run, options.ReportOptions(jobs=JOBS)),
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
