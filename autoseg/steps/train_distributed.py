"""train on several devices of this machine: torchrun starts one process for each."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from autoseg.errors import TrainingError
from autoseg.flags import arguments_of
from autoseg.machine import process_place, set_default_variable, usable_cores
from autoseg.network.build import plan_of
from autoseg.network.distributed import require_devices
from autoseg.options import TrainOptions
from autoseg.planning.requirements import require_crops, require_one_device
from autoseg.processes import ENDING, is_heard
from autoseg.run import Run
from autoseg.steps.train import device_of, folds_of

SIGNALLED = 128  # the exit code of what a signal has ended is this and the signal's number


def is_due(options: TrainOptions) -> bool:
    """Return whether processes are to be started: not in one that torchrun (or Slurm) has started as one of several."""
    return options.gpus > 1 and process_place().size == 1


def train_distributed(run: Run, options: TrainOptions) -> bool:
    """Run `autoseg train` in several processes, and wait for them; return whether it was ended early.

    Ctrl-C, SIGTERM or SIGHUP ends it as a stop file does, after an iteration that all have done; a second one at once.

    Raises:
        PlanError: If there are more than crops of a batch or GPUs.
        TrainingError: If one of them failed.
        LockedError: If another process writes to RUN.
    """
    plan, processes = plan_of(run), options.gpus
    require_one_device(plan, processes)
    require_crops(plan, processes)
    require_devices(device_of(plan, options.device), processes)
    set_default_variable("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))  # torchrun would set 1
    with tempfile.TemporaryDirectory() as folder:
        why = Path(folder) / "why.txt"
        launcher = [sys.executable, "-m", "autoseg.network.launch", str(why)]
        team = ["--standalone", f"--nproc-per-node={processes}", "-m", "autoseg", "train", str(run.folder)]
        stop = run.fold(options.folds[0]).stop_file if options.folds else run.stop_file
        with run.locked(
            "train", folds_of(options)
        ):  # for all of them: the first one sees that what has started it holds the lock
            code, times_asked = run_team([*launcher, *team, *arguments_of(replace(options, gpus=1))], stop)
        was_signalled = times_asked > 0 and SIGNALLED < code < 2 * SIGNALLED  # with those who are asked, as by Slurm
        if code and times_asked < 2 and not was_signalled:  # a disk too full for what was learnt, say
            raise TrainingError(why.read_text(encoding="utf-8") if why.is_file() else f"the team ended with {code}")
    return times_asked > 0


def run_team(command: list[str], stop: Path) -> tuple[int, int]:
    """Start a team, which a file ends early, and wait; return its exit code, and how often it was asked to."""
    asked: list[int] = []

    def end(number: int, _: object) -> None:
        asked.append(number)
        if len(asked) == 1:
            stop.parent.mkdir(exist_ok=True)
            stop.touch()
        else:
            team.terminate()  # torchrun ends its processes, the unwilling after 30 s

    before = {number: signal.signal(number, end) for number in ENDING if is_heard(number)}
    try:
        team = subprocess.Popen(command, start_new_session=True)  # Ctrl-C comes by the stop file alone
        code = team.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if asked:
            stop.unlink(missing_ok=True)
    return code, len(asked)
