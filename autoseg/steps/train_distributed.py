"""train on several devices of this machine: torchrun starts one process for each."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from autoseg.errors import TrainingError
from autoseg.machine import process_place, set_default_variable, usable_cores
from autoseg.network.build import plan_of
from autoseg.network.distributed import require_devices
from autoseg.planning.fit import require_crops
from autoseg.run import Run
from autoseg.steps.train import TrainOptions, device_of


def is_distributed() -> bool:
    """Return whether torchrun (or Slurm with its variables) has started this process as one of several."""
    return process_place().size > 1


def train_distributed(run: Run, options: TrainOptions, processes: int) -> bool:
    """Run `autoseg train` in several processes, and wait for them; return whether it was ended early.

    Ctrl-C or SIGTERM ends it as a stop file does, after an iteration that all have done; a second one at once.

    Raises:
        PlanError: If there are more than crops of a batch or GPUs.
        TrainingError: If one of them failed.
    """
    settings = plan_of(run)
    require_crops(settings, processes)
    require_devices(device_of(settings, options.device), processes)
    set_default_variable("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))  # torchrun would set 1
    with tempfile.TemporaryDirectory() as folder:
        why = Path(folder) / "why.txt"
        launcher = [sys.executable, "-m", "autoseg.network.launch", str(why)]
        team = ["--standalone", f"--nproc-per-node={processes}", "-m", "autoseg", "train", str(run.folder)]
        ended, was_asked = _ended([*launcher, *team, *_arguments(options)], run)
        if ended and not was_asked:
            raise TrainingError(why.read_text(encoding="utf-8") if why.is_file() else f"the team ended with {ended}")
    return was_asked


def _ended(command: list[str], run: Run) -> tuple[int, bool]:
    """Start a team and wait for it; return its exit code, and whether it was asked to end early."""
    asked: list[int] = []

    def end(number: int, _: object) -> None:
        asked.append(number)
        if len(asked) == 1:
            run.stop_file.touch()
        else:
            team.terminate()  # torchrun ends its processes, the unwilling after 30 s

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        team = subprocess.Popen(command, start_new_session=True)  # Ctrl-C comes by the stop file alone
        code = team.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if asked:
            run.stop_file.unlink(missing_ok=True)
    return code, bool(asked)


def _arguments(options: TrainOptions) -> list[str]:
    """Return the command line's form of the options.

    >>> _arguments(TrainOptions(iterations=500, tensorboard=True))
    ['--iterations', '500', '--tensorboard']
    """
    values = {
        "--fold": None if options.folds is None else options.folds[0],
        "--iterations": options.iterations,
        "--time-budget": None if options.time_budget_s is None else f"{options.time_budget_s:g}s",
        "--device": options.device,
        "--workers": options.workers,
        "--patience": options.patience,
    }
    flags = {"--tensorboard": options.tensorboard, "--deterministic": options.deterministic}
    given = [text for name, value in values.items() if value is not None for text in (name, str(value))]
    return given + [name for name, wanted in flags.items() if wanted]
