"""train on several devices of this machine: torchrun starts one process for each."""

from __future__ import annotations

import subprocess
import sys

from autoseg.errors import TrainingError
from autoseg.network.team import require_devices
from autoseg.pipeline.settled import require_crops
from autoseg.pipeline.trained import TrainOptions, device_of
from autoseg.run import Run
from autoseg.workers import place_in_team, set_unless_told, usable_cores


def is_in_team() -> bool:
    """Return whether torchrun (or Slurm with its variables) has started this process as one of several."""
    return place_in_team().size > 1


def train_together(run: Run, options: TrainOptions, processes: int) -> None:
    """Run `autoseg train` in several processes, and wait for them.

    Raises:
        PlanError: If there are more than crops of a batch or GPUs.
        TrainingError: If one of them failed; it has said why.
    """
    settings = run.plan()
    require_crops(settings, processes)
    require_devices(device_of(settings, options.device), processes)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*launcher, "-m", "autoseg", "train", str(run.folder), *_arguments(options)]
    set_unless_told("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))  # torchrun would set 1
    if subprocess.run(command, check=False).returncode:
        raise TrainingError(f"{run.folder}: one of the {processes} processes failed, it has said why above")


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
