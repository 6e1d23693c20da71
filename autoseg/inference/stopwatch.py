"""How long the phases of a prediction take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

PHASES = ("read", "resample", "network", "upsample", "clean-up", "write")


class Stopwatch:
    """Adds up the seconds of each phase; reading and writing may overlap with the network."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.seconds = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a phase of PHASES."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began
