"""Be a process that has imported all of autoseg, and fork it for each command: its imports would take most of the time.

In a fork runs `autoseg.cli.app.main`, as in a program of its own; workers are spawned as ever. A line of standard
input is a command as JSON; the line of standard output that answers it is the fork's number. When the fork has ended,
its exit code stands in the file that the command names.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import select
import sys
import types
from pathlib import Path
from typing import Any

LOOK_S = 0.02  # how often it is asked which forks have ended
LATE = ("torch._dynamo", "torch._subclasses.fake_tensor", "scipy.ndimage", "skimage.measure", "matplotlib.figure")


def import_all() -> None:
    import autoseg

    for module in pkgutil.walk_packages(autoseg.__path__, "autoseg."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in (*LATE, "SimpleITK"):
        importlib.import_module(name)


def serve() -> dict[str, Any]:
    """Fork for each line until there are no more; return the command, in the fork."""
    forks: dict[int, Path] = {}
    while True:
        if select.select([sys.stdin], [], [], LOOK_S)[0]:
            line = sys.stdin.readline()
            if not line:
                os._exit(0)
            command: dict[str, Any] = json.loads(line)
            pid = os.fork()
            if pid == 0:
                return command
            forks[pid] = Path(command["code"])
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
        for pid in list(forks):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                file = forks.pop(pid)
                beside = file.with_suffix(".part")
                beside.write_text(str(os.waitstatus_to_exitcode(status)))
                beside.rename(file)


def become(command: dict[str, Any]) -> None:
    """Be the program: its session, folder, environment, streams and arguments."""
    os.setsid()
    os.chdir(command["folder"])
    os.environ.update(command["environment"])
    for stream, descriptor in (
        (os.open(os.devnull, os.O_RDONLY), 0),
        (os.open(command["output"], os.O_WRONLY | os.O_CREAT, 0o600), 1),
    ):
        os.dup2(stream, descriptor)
    os.dup2(1, 2)
    sys.argv = ["autoseg", *command["arguments"]]
    sys.modules["__main__"] = types.ModuleType("__main__")  # or spawned workers would import this file
    exec(command["patch"], {})


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are nobody else's
    import_all()
    gc.freeze()  # or a fork's end would take seconds
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    become(serve())
    from autoseg.cli.app import main

    main()
