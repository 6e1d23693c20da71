"""A worker that is killed or stopped costs nothing; the long form is `python -m tests.faults workers`."""

from __future__ import annotations

import random
import signal

import pytest
from faults.outcome import Tally
from faults.workers import disturb_worker
from faults.workplace import Workplace


@pytest.mark.parametrize(("verb", "number"), [("preprocess", signal.SIGKILL), ("train", signal.SIGSTOP)])
def test_a_verb_ends_the_same_without_one_of_its_workers(
    verb: str, number: signal.Signals, place_with_workers: Workplace, draw: random.Random
) -> None:
    tally = Tally(verb)
    disturb_worker(place_with_workers, verb, 0.0, number, draw, tally)
    assert tally.count == 1
    assert tally.wrong == []
