"""What the figures of a GPU have in common: the time that is left, how they are printed, and where they are owed."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from autoseg.errors import TooLittleMemoryError
from autoseg.network.device import DeviceName
from autoseg.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where figures are measured, and until when."""

    out: Path
    runs: Path  # what is prepared, .gpu
    ends: float  # time.monotonic() at which this figure is ended
    toy: bool = False  # the same at a small size, on a CPU

    @property
    def device(self) -> DeviceName:
        """Where the figures are measured."""
        return "cpu" if self.toy else "cuda"

    @property
    def left_s(self) -> float:
        """The seconds that are left."""
        return self.ends - time.monotonic()

    def placed(self, plan: Plan, **changes: object) -> Plan:
        """Return a plan for this device."""
        return plan.model_copy(update={"device": self.device, **changes})

    def owe(self, figure: str, name: str, result: str) -> None:
        """Add a row of the table of what docs/benchmarks.md owes; the command is the one that measures `name` alone."""
        device = "a CPU, toy size" if self.toy else torch.cuda.get_device_name()
        with (self.out / "owed.md").open("a", encoding="utf-8") as stream:
            line = f"| {figure} | `python -m tests.benchmarks.gpu {name}` | {device}, {date.today()} | {result} |"
            stream.write(line + "\n")


def show(*texts: object) -> None:
    """Print at once."""
    print(*texts, flush=True)  # noqa: T201


def row(*cells: object) -> None:
    """Print a row of a table."""
    show("|", " | ".join(map(str, cells)), "|")


def table(*columns: str) -> None:
    """Begin a table."""
    show()
    row(*columns)
    row(*("---" for _ in columns))


@contextmanager
def survived(what: str) -> Iterator[None]:
    """Turn a failure into a row that says why; the rows after it are measured all the same."""
    try:
        yield
    except TooLittleMemoryError:
        row(what, "too little memory")
    except Exception as error:  # noqa: BLE001 - whatever it is, the others count
        row(what, f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def freed(bench: Bench) -> float:
    """Give freed memory back and begin a new peak; return what is allocated, in bytes."""
    gc.collect()
    if bench.toy:
        return 0.0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return float(torch.cuda.memory_allocated())


def synchronised(bench: Bench) -> float:
    """Wait for the device; return the clock."""
    if not bench.toy:
        torch.cuda.synchronize()
    return time.perf_counter()


def milliseconds(bench: Bench, function: Callable[[], object], least_s: float = 0.3, most: int = 200) -> float:
    """Return the median milliseconds of a call, by events on the GPU, after three to warm up."""
    for _ in range(3):
        function()
    began = synchronised(bench)
    times: list[float] = []
    while len(times) < 5 or (len(times) < most and time.perf_counter() - began < least_s and not bench.toy):
        if bench.toy:
            before = time.perf_counter()
            function()
            times.append(1e3 * (time.perf_counter() - before))
            continue
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        function()
        last.record()
        last.synchronize()
        times.append(float(first.elapsed_time(last)))
    return statistics.median(times)
