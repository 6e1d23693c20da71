"""Figures of whole trainings on a GPU: the paper's recipe, and hippocampus with its Dice."""

from __future__ import annotations

import csv
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.data.cache import read_cases
from autoseg.data.preprocess import plan_digest
from autoseg.dataset.origin import splits_of
from autoseg.inference.opening import open_model
from autoseg.machine import usable_cores
from autoseg.metrics.overlap import dice
from autoseg.run import Run

from .gpu_bench import Bench, row, survived, table

ENDING_S = 25  # before its time is over a training is asked to end; its model can be used then
MOST_WORKERS = 15


@dataclass(frozen=True)
class Training:
    """`autoseg train` in a process of its own, on a copy of a prepared RUN."""

    run: Run
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def begin(
        cls, source: Run, folder: Path, bench: Bench, *arguments: object, precision: str | None = None
    ) -> Training:
        """Copy a RUN into a folder and begin to train it."""
        run = Run(shutil.copytree(source.folder, folder))
        if precision:
            plan = run.plan().model_copy(update={"precision": precision})
            run.plan_file.write_text(plan.model_dump_json(indent=2), encoding="utf-8")
        log = folder / "train.txt"
        command = (sys.executable, "-m", "autoseg", "train", folder, "--device", bench.device, *arguments)
        with log.open("wb") as stream:
            process = subprocess.Popen([*map(str, command)], stdout=stream, stderr=subprocess.STDOUT)
        return cls(run, process, log)

    def ended(self, bench: Bench, fold: int) -> tuple[list[dict[str, str]], str]:
        """Wait for the training, ask it to end when the time is short; return its log, and what went wrong, or ""."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(1.0, bench.left_s - ENDING_S))
        if self.process.poll() is None:
            self.run.stop_file.touch()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(1.0, bench.left_s - ENDING_S / 2))
        if self.process.poll() is None:
            self.process.kill()
        file = self.run.fold(fold).log
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.is_file() else []
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing"]
        return rows, "" if rows and self.process.wait() == 0 else f"training said: {lines[-1][:200]}"


def paces(rows: Sequence[dict[str, str]]) -> tuple[float, float, float, float]:
    """Return mean and median ms of an iteration, the share of waiting, and the longest, without the first fifth."""
    late = rows[len(rows) // 5 :]
    seconds = [float(r["seconds"]) for r in late]
    waited = sum(s * float(r["wait_share"]) for s, r in zip(seconds, late, strict=True))
    return 1e3 * statistics.mean(seconds), 1e3 * statistics.median(seconds), waited / sum(seconds), 1e3 * max(seconds)


def recipe(bench: Bench) -> None:
    """Train the paper's recipe on head and neck: milliseconds an iteration, and the share of waiting, by workers."""
    table(
        "the paper's recipe, workers", "iterations", "mean ms", "median ms", "longest ms", "waiting", "50,000 take, min"
    )
    said = []
    cores = usable_cores()
    for workers in (1,) if bench.toy else dict.fromkeys((min(MOST_WORKERS, cores - 1), min(8, cores - 1))):
        if bench.left_s < ENDING_S + 10:
            row(workers, "left out")
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, survived(f"{workers} workers"):
            count = 4 if bench.toy else 1000
            job = Training.begin(
                Run(bench.runs / "roth2018"), Path(folder) / "RUN", bench, "--iterations", count, "--workers", workers
            )
            rows, wrong = job.ended(bench, 0)
            if wrong:
                row(workers, wrong)
            if not rows:
                continue
            mean, median, waiting, longest = paces(rows)
            row(
                workers,
                len(rows),
                f"{mean:.1f}",
                f"{median:.1f}",
                f"{longest:.0f}",
                f"{waiting:.1%}",
                f"{mean * 50 / 60:.1f}",
            )
            said.append(f"{mean:.1f} ms with {workers} workers, {waiting:.1%} waiting")
    if said:
        bench.owe(
            "the paper's recipe, milliseconds an iteration and share of waiting (log.csv)", "recipe", "; ".join(said)
        )


def hippocampus(bench: Bench) -> None:
    """Train all folds of hippocampus, and the first in float32, at once; print the Dice of every organ."""
    source, count = Run(bench.runs / "hippocampus"), 4 if bench.toy else 5000
    folds = range(len(splits_of(source)))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        began = time.monotonic()
        options = ("--iterations", count, "--workers", 1 if bench.toy else 2)
        jobs = {
            f"fold {k}": Training.begin(source, Path(folder) / f"fold{k}", bench, "--fold", k, *options) for k in folds
        }
        jobs["fold 0, float32"] = Training.begin(
            source, Path(folder) / "float32", bench, "--fold", 0, *options, precision="float32"
        )
        table(
            "hippocampus, all at once",
            "iterations",
            "mean ms",
            "waiting",
            "ready after min",
            "testing cases",
            *(organ.name for organ in source.plan().labels),
        )
        scores = {}
        for name, job in jobs.items():
            with survived(name):
                fold = int(name.split()[1].rstrip(","))
                rows, wrong = job.ended(bench, fold)
                minutes = (time.monotonic() - began) / 60
                if wrong:
                    row(name, wrong)
                    continue
                scores[name] = _testing_dice(job.run, fold, bench)
                mean, _, waiting, _ = paces(rows)
                means = [f"{100 * statistics.mean(values):.2f}" for values in scores[name].values()]
                row(
                    name,
                    len(rows),
                    f"{mean:.1f}",
                    f"{waiting:.1%}",
                    f"{minutes:.1f}",
                    len(next(iter(scores[name].values()))),
                    *means,
                )
        _owe_hippocampus(bench, scores, len(folds), (time.monotonic() - began) / 60)


def _testing_dice(run: Run, fold: int, bench: Bench) -> dict[str, list[float]]:
    """Return the Dice of each organ in the testing cases, on the working grid, which is the images' own."""
    model = open_model(run.fold(fold).model, bench.device)
    organs = {organ.name: number for number, organ in enumerate(model.plan.labels, start=1)}
    scores: dict[str, list[float]] = {name: [] for name in organs}
    for case in read_cases(run.cache, splits_of(run)[fold].testing, plan_digest(run.plan())):
        mask = model.infer(case.image().astype(np.float32), case.working.shape).coarse
        values = dice(mask, np.array(case.label()), tuple(organs.values()))
        for name, number in organs.items():
            if values.get(number) is not None:
                scores[name].append(values[number])
    return scores


def _owe_hippocampus(bench: Bench, scores: dict[str, dict[str, list[float]]], folds: int, minutes: float) -> None:
    whole = [scores[f"fold {k}"] for k in range(folds) if f"fold {k}" in scores]
    if whole:
        means = {name: statistics.mean(v for fold in whole for v in fold[name]) for name in whole[0]}
        organs = " / ".join(f"{100 * value:.2f}" for value in means.values())
        mean, names = 100 * statistics.mean(means.values()), " / ".join(means)
        how = f"{len(whole)} folds and one in float32 at once in {minutes:.1f} min"
        result = f"{organs} ({names}), mean {mean:.2f}; {how}"
        bench.owe("hippocampus, five folds, Dice and minutes for all", "hippocampus", result)
    pair = [scores.get(name) for name in ("fold 0", "fold 0, float32")]
    if all(pair):
        texts = [" / ".join(f"{100 * statistics.mean(v):.2f}" for v in fold.values()) for fold in pair if fold]
        bench.owe("Dice in float32 beside bfloat16", "hippocampus", f"fold 0: {texts[1]} beside {texts[0]}")
