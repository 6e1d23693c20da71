"""How long the stages of a prediction take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("read", "resample", "network", "upsample", "clean-up", "write")


class Stopwatch:
    """Adds up the seconds of each stage; reading and writing may overlap with the network."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage of STAGES."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began
