"""Run autoseg as a user does, watch what it starts, and end it in any way."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MARK = "FAULTS_PROGRAM"  # environment variable by which a program's own processes are known, whoever started them
LOOK_S = 0.01
END_S = 60.0  # that processes may take to end when they should, on a busy machine: a worker may only be starting


class Program:
    """A run of autoseg in a session of its own."""

    def __init__(self, pid: int, mark: str, place: Path) -> None:
        self.pid, self.mark = pid, mark
        self._code, self._output = place / f"{mark}.code", place / f"{mark}.txt"

    @property
    def code(self) -> int | None:
        """The exit code, that of a signal negative; None while it runs."""
        return int(self._code.read_text()) if self._code.exists() else None

    @property
    def text(self) -> str:
        """Standard output and standard error."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def heeds(self, number: signal.Signals) -> bool:
        """Return whether it has said what it does on a signal: before that it is Python that starts."""
        with suppress(OSError):
            status = Path(f"/proc/{self.pid}/status").read_text()
            return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)
        return False

    def wait(self, seconds: float, until: Callable[[], object] = lambda: False) -> bool:
        """Wait until it has ended, or `until` is true; return whether it has ended."""
        last = time.monotonic() + seconds
        while self.code is None and time.monotonic() < last and not until():
            time.sleep(LOOK_S)
        return self.code is not None

    def living(self) -> list[int]:
        """Return the numbers of its processes that live, its own among them."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_mine(pid)]

    def children(self) -> dict[int, str]:
        """Return the processes that it has started, by number, each with its command line."""
        with_names: dict[int, str] = {}
        for pid in self.living():
            with suppress(OSError):
                if pid != self.pid:
                    with_names[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        return with_names

    def _is_mine(self, pid: int) -> bool:
        with suppress(OSError, IndexError):
            state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[:4]
            mark = f"{MARK}={self.mark}\0".encode()
            return state != "Z" and (int(session) == self.pid or mark in Path(f"/proc/{pid}/environ").read_bytes())
        return False

    def send(self, number: signal.Signals, to_all: bool = False) -> None:
        """Send a signal to it, or to its whole process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number) if to_all else os.kill(self.pid, number)

    @staticmethod
    def send_to(pid: int, number: signal.Signals) -> None:
        """Send a signal to one process that it has started."""
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def survivors(self) -> list[str]:
        """Return its processes that live longer than they should; they are killed."""
        last = time.monotonic() + END_S
        while self.living() and time.monotonic() < last:
            time.sleep(LOOK_S)
        lasting = [f"{pid} {name}" for pid, name in self.children().items()]
        for pid in self.living():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return lasting


class Server:
    """Starts programs; see server.py."""

    def __init__(self, place: Path, preload: Path | None = None) -> None:
        """Start it; `preload` is a library that all programs load first."""
        self.place, self._marks = place, itertools.count()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}
        environment |= {"TMPDIR": str(place / "temporary")} | ({"LD_PRELOAD": str(preload)} if preload else {})
        (place / "temporary").mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            start_new_session=True,
            preexec_fn=_heed_all,
        )
        self._read()

    def start(
        self, folder: Path, arguments: tuple[object, ...], patch: str = "", environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start `autoseg ARGUMENTS` in a folder; `patch` is Python that it runs first."""
        mark = f"{self._process.pid}-{next(self._marks)}"
        command: dict[str, Any] = {
            "folder": str(folder),
            "arguments": [str(argument) for argument in arguments],
            "environment": {MARK: mark, **(environment or {})},
            "patch": patch,
            "output": str(self.place / f"{mark}.txt"),
            "code": str(self.place / f"{mark}.code"),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return Program(int(self._read()), mark, self.place)

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _heed_all() -> None:
    """Undo what a shell's & or nohup has told the tests, and so all that they start, to ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
