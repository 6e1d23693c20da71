"""Kill a real training at random moments, resume it each time, and compare it with one that was left alone.

python -m tests.benchmarks.kills DATA/hippocampus [--kills 20] [--iterations 120]: plans and caches the dataset in a
temporary folder, then for 0, 1 and 2 workers trains once undisturbed and once killed (SIGKILL, the whole process
group) and resumed. Prints a line each: whether weights, checkpoint and log are the same. Exit code 1 when any differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMES = {"seconds", "wait_share"}  # columns of log.csv that no two runs share
OFTEN = "import autoseg.training.loop as loop; loop.SAVE_EVERY_S = 2; from autoseg.cli.app import main; main()"


def autoseg(*arguments: object) -> subprocess.Popen[bytes]:
    """Start autoseg with checkpoints every 2 seconds, in a process group of its own."""
    command = [sys.executable, "-c", OFTEN, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def digest_of(fold: Path) -> dict[str, str]:
    """Return what identifies a finished fold."""
    header, *rows = (line.split(",") for line in (fold / "log.csv").read_text().splitlines())
    kept = [number for number, name in enumerate(header) if name not in TIMES]
    log = "\n".join(",".join(row[n] for n in kept) for row in rows)
    files = {name: (fold / name).read_bytes() for name in ("model.autoseg", "checkpoint.safetensors")}
    return {name: hashlib.sha256(data).hexdigest() for name, data in (files | {"log.csv": log.encode()}).items()}


def killed(train: tuple[object, ...], kills: int, longest_s: float, draw: random.Random) -> tuple[int, int]:
    """Train with kills at random moments; return how many there were, and the iterations before the last."""
    done = 0
    while done < kills:
        process = autoseg(*train)
        time.sleep(draw.uniform(0.2, longest_s))
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done += 1
    log = Path(str(train[1])) / "fold-0" / "log.csv"
    reached = len(log.read_text().splitlines()) - 1 if log.is_file() else 0
    while autoseg(*train).wait():
        raise SystemExit("training failed")
    return done, reached


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=120)
    parser.add_argument("--longest", type=float, default=10.0, help="seconds that a process lives at most")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    draw, differing = random.Random(0), 0
    with tempfile.TemporaryDirectory() as folder:
        planned = Path(folder) / "planned"
        for step in (
            ("plan", asked.dataset, planned, "--device", "cpu", "--set", "batch_size=2"),
            ("preprocess", planned),
        ):
            if autoseg(*step, *(("--set", f"iterations={asked.iterations}") if step[0] == "plan" else ())).wait():
                return 1
        found: dict[str, dict[str, str]] = {}
        for workers in asked.workers:
            for kills in (0, asked.kills):
                run = Path(folder) / f"{workers} workers, {kills} kills"
                shutil.copytree(planned, run)
                done, reached = killed(("train", run, "--workers", workers), kills, asked.longest, draw)
                found[run.name] = digest_of(run / "fold-0")
                same = found[run.name] == next(iter(found.values()))
                differing += not same
                verdict = "same" if same else f"differs: {found[run.name]}"
                print(  # noqa: T201
                    f"{workers} workers, {done} kills, the last before iteration {reached + 1}: {verdict}", flush=True
                )
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
