"""What travels to a machine with a GPU: RUNs that are planned and cached, and libraries that are missing there."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_MIB = 64  # of the checkout with .gpu
WHEELS = ("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "batchgenerators", "pydicom")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
CARD = ("--gpu-memory", "79")
SMALL = ("--device", "cpu", "--set", "spacing_mm=[6,6,6]", "--set", "crop_size=[16,32,32]", "--set", "iterations=4")


def prepare(folder: Path, data: Path, python: str) -> None:
    """Fill a folder with RUNs that train from their cache alone, without dataset and SimpleITK, and with wheels.

    Head and neck as derived is planned only: its cache has more than travels.

    Args:
        folder: .gpu, in the checkout.
        data: Holds `hippocampus` and `headneck_ct`.
        python: Version of the machine with the GPU, as "3.12".
    """
    folder.mkdir(exist_ok=True)
    _plan(data / "headneck_ct", folder / "roth2018", "--preset", "roth2018", *CARD)
    _plan(data / "headneck_ct", folder / "headneck", *CARD, cached=False)
    _plan(data / "hippocampus", folder / "hippocampus", "--folds", "5", *CARD)
    _download(folder / "wheels", python)
    mib = _mib(folder) + sum(file.stat().st_size for file in _tracked()) / 2**20
    print(f"{folder}: {_mib(folder):.0f} MiB, with the checkout {mib:.0f} MiB")  # noqa: T201
    if mib > MOST_MIB:
        sys.exit(f"more than {MOST_MIB} MiB do not travel; remove what is not needed")


def prepare_toy(folder: Path) -> None:
    """Fill a folder with RUNs of phantoms for a CPU, in the place of the real ones."""
    from autoseg.phantom.cohort import write_cohort

    cohort = write_cohort(folder / "phantoms", cases=5, seed=0, jobs=1)
    for name in ("roth2018", "headneck"):
        _plan(cohort, folder / name, *SMALL)
    _plan(cohort, folder / "hippocampus", "--folds", "2", *SMALL)


def _plan(dataset: Path, run: Path, *options: str, cached: bool = True) -> None:
    """Plan a RUN and cache it, unless that was done before."""
    if (run / "cache").is_dir() or (not cached and (run / "plan.json").is_file()):
        return
    _autoseg("plan", dataset, run, *options, "-j", "1", "--force")
    if cached:
        _autoseg("preprocess", run, "-j", "1")


def _autoseg(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "autoseg", *map(str, arguments)], check=True, cwd=ROOT)


def _download(folder: Path, python: str) -> None:
    """Download the libraries in this environment's versions; --no-deps, as the others are there."""
    named = [f"{name}=={importlib.metadata.version(name)}" for name in WHEELS]
    target = ["--python-version", python, "--implementation", "cp"]
    target += [word for platform in PLATFORMS for word in ("--platform", platform)]
    pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:")
    subprocess.run([*pip, *target, "-d", str(folder), *named], check=True)


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [file for name in listed.stdout.split("\0") if name and (file := ROOT / name).is_file()]


def _mib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
