"""Timings: how long each verb has worked on a RUN, and on which machine; kept in the RUN for its report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autoseg.files import write_text
from autoseg.json_file import JsonError, read_json
from autoseg.locks import lock
from autoseg.machine import machine_in_words, process_place
from autoseg.run import Run

NOTE_WAIT_S = 60.0  # for another part of the verb to note its own, which takes milliseconds


@contextmanager
def timed(run: Run, verb: str) -> Iterator[None]:
    """Add the seconds that a verb works on a RUN to those of before, if it ends without an error.

    Of a team of processes the first one does.
    """
    start = time.monotonic()
    yield
    if process_place().rank > 0:
        return
    with lock(run.folder, "autoseg", NOTE_WAIT_S, f"{run.timings_file.name}.lock"):
        _add(run, verb, time.monotonic() - start)


def _add(run: Run, verb: str, seconds: float) -> None:
    noted = read_timings(run)
    before = float(noted.get(verb, {}).get("seconds", 0.0))
    noted[verb] = {"seconds": round(before + seconds, 1), "machine": machine_in_words()}
    write_text(run.timings_file, json.dumps(noted, indent=1))


def read_timings(run: Run) -> dict[str, dict[str, Any]]:
    """Return verb to its seconds and machine, in the order of first use; empty where nothing sound is noted."""
    try:
        noted = read_json(run.timings_file, dict)
    except (OSError, JsonError):
        return {}
    return {
        str(verb): entry
        for verb, entry in noted.items()
        if isinstance(entry, dict) and isinstance(entry.get("seconds"), int | float)
    }
