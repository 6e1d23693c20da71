"""Tests of autoseg.training.measure, on a made-up device that works while Python goes on, as a GPU does."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from autoseg.training import measure

STEP_S = 0.05


class Device:
    """Takes `STEP_S` a step, one after the other; `read` waits for the end of its own."""

    def __init__(self) -> None:
        self.free = 0.0

    def __call__(self, batch: object) -> Device:
        self.free = max(self.free, time.perf_counter()) + STEP_S
        ended = Device()
        ended.free = self.free
        return ended

    def read(self) -> tuple[float, float]:
        time.sleep(max(0.0, self.free - time.perf_counter()))
        return 0.0, 0.0


@pytest.mark.parametrize("most", [2, 8])
def test_steps_that_are_only_started_count_with_their_whole_time(most: int) -> None:
    batches: Any = itertools.repeat({})
    _, took = measure._timed(Device(), batches, 2, most, 60.0)  # type: ignore[arg-type]
    assert len(took) == most
    assert sum(took) >= most * STEP_S


def test_after_so_long_no_more_than_the_least_are_done() -> None:
    batches: Any = itertools.repeat({})
    _, took = measure._timed(Device(), batches, 3, 100, 0.0)  # type: ignore[arg-type]
    assert len(took) == 3
