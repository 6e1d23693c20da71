"""The figures that need a GPU, in two parts of at most 310 and 400 s.

python -m tests.benchmarks.gpu prepare DATA: on a machine without a GPU, makes .gpu/, which travels with the checkout.
python -m tests.benchmarks.gpu first, then second: every figure that docs/benchmarks.md owes, but one of 20 minutes.
python -m tests.benchmarks.gpu NAME …: only these. `--toy` tries the same on a CPU, at a small size.

What is printed is written to OUT/PART.md as well, and OUT/owed.md has the rows for docs/benchmarks.md. Each figure runs
in a process of its own and within its own limit: one that fails or takes too long leaves the others' rows alone.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).parents[2]
PREPARED = ROOT / ".gpu"
PARTS = {  # the figures of each part with their limits in seconds, the telling ones first
    "first": {"where": 35, "steps": 70, "recipe": 90, "variants": 100, "layers": 60},
    "second": {"hippocampus": 220, "predict": 60, "memory": 80, "measured": 60, "feed": 60},
}
LIMIT_S = {"first": 310, "second": 400}  # of a part, whatever its figures ask for
LEAST_S = 15  # with less a figure is not begun
TOY_FACTOR = 20.0  # a toy may take so much longer: its machine is not alone
MODULES = {
    "gpu_steps": ("where", "steps", "variants", "memory"),
    "gpu_layers": ("layers",),
    "gpu_runs": ("recipe", "hippocampus"),
    "gpu_feed": ("feed", "measured"),
    "gpu_predict": ("predict",),
}
FIGURES = {name: module for module, names in MODULES.items() for name in names}
NEEDED = ("pydantic", "batchgenerators", "pydicom")  # any that is missing is installed from .gpu/wheels


def measure_part(part: str, out: Path, runs: Path, toy: bool) -> None:
    """Measure the figures of a part, each for as long as it and the part may take."""
    began, factor = time.monotonic(), TOY_FACTOR if toy else 1.0
    with (out / f"{part}.md").open("a", encoding="utf-8") as log, tempfile.TemporaryDirectory() as site:
        environment = _environment(Path(site), runs / "wheels")
        places = ("--out", str(out), "--runs", str(runs))
        for name, limit_s in PARTS[part].items():
            left_s = factor * LIMIT_S[part] - (time.monotonic() - began)
            if left_s < LEAST_S:
                _say(f"\n## {name}\nleft out, {left_s:.0f} s are left", log)
                continue
            limit_s = min(factor * limit_s, left_s)
            command = [sys.executable, "-m", "tests.benchmarks.gpu", name, *places, "--limit", f"{limit_s:.0f}"]
            _say(f"\n## {name} (at most {limit_s:.0f} s)", log)
            start = time.monotonic()
            how = run_within(limit_s, command + ["--toy"] * toy, environment, log)
            _say(f"\n{name}: {how} after {time.monotonic() - start:.0f} s", log)
        _say(f"\n{part}: {time.monotonic() - began:.0f} s", log)


def run_within(limit_s: float, command: Sequence[str], environment: dict[str, str], log: TextIO) -> str:
    """Run a command and print what it prints; end it and all that it began after so long; return how it ended."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        encoding="utf-8", errors="replace", start_new_session=True,
    )  # fmt: skip
    printing = threading.Thread(target=_print_all, args=(process.stdout, log), daemon=True)
    printing.start()
    try:
        code = process.wait(limit_s)
        return "done" if code == 0 else f"failed with {code}"
    except subprocess.TimeoutExpired:
        return "ended for lack of time"
    finally:
        _end(process)
        printing.join(5)
        if process.stdout is not None and not printing.is_alive():
            process.stdout.close()


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and all of its session, which may be alive when it itself is not."""
    if sys.platform == "win32":
        process.kill()
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
    process.wait()


def _print_all(stream: TextIO, log: TextIO) -> None:
    for line in stream:
        _say(line.rstrip("\n"), log)


def _say(line: str, log: TextIO) -> None:
    print(line, flush=True)  # noqa: T201
    if not log.closed:
        log.write(line + "\n")
        log.flush()


def _environment(site: Path, folder: Path) -> dict[str, str]:
    """Return the environment of the figures; libraries that this machine lacks are installed from wheels."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    wheels = sorted(folder.glob("*.whl"))
    if wheels and any(importlib.util.find_spec(name) is None for name in NEEDED):
        pip = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile")
        command = (*pip, "--target", site, *wheels)
        subprocess.run([*map(str, command)], check=False, timeout=60)
        paths.insert(0, str(site))
    paths = [path for path in paths if path]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}


def measure_figure(name: str, out: Path, runs: Path, limit_s: float, toy: bool) -> None:
    """Measure one figure in this process."""
    from .gpu_bench import Bench, survived

    module = importlib.import_module(f".{FIGURES[name]}", __package__)
    with survived(name):
        vars(module)[name](Bench(out=out, runs=runs, ends=time.monotonic() + limit_s, toy=toy))


def _prepare(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    from . import gpu_prepare

    if asked.toy:
        gpu_prepare.prepare_toy(asked.runs)
    elif len(asked.what) == 2 and Path(asked.what[1]).is_dir():
        gpu_prepare.prepare(asked.runs, Path(asked.what[1]), asked.python)
    else:
        parser.error("prepare DATA: give the folder that holds hippocampus and headneck_ct")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", metavar="|".join(("prepare DATA", *PARTS, *FIGURES)))
    parser.add_argument("--out", type=Path, default=Path("gpu-figures"), help="folder of the tables (%(default)s)")
    parser.add_argument("--runs", type=Path, default=PREPARED, help="folder of what is prepared (%(default)s)")
    parser.add_argument("--limit", type=float, default=600.0, metavar="S", help="of a single figure (%(default)s)")
    parser.add_argument("--toy", action="store_true", help="on a CPU, at a small size")
    parser.add_argument("--python", default="3.12", metavar="X.Y", help="of the machine with the GPU (%(default)s)")
    asked = parser.parse_args()
    if asked.what[0] == "prepare":
        _prepare(parser, asked)
        return
    if unknown := set(asked.what) - {*PARTS, *FIGURES}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    out, runs = asked.out.absolute(), asked.runs.absolute()
    out.mkdir(parents=True, exist_ok=True)
    for what in asked.what:
        if what in PARTS:
            measure_part(what, out, runs, asked.toy)
        else:
            measure_figure(what, out, runs, asked.limit, asked.toy)
    if (out / "owed.md").is_file() and set(asked.what) & set(PARTS):
        print("\n## Rows for docs/benchmarks.md\n" + (out / "owed.md").read_text(encoding="utf-8"))  # noqa: T201


if __name__ == "__main__":
    main()
