"""A clock that is set back changes no result; the long form is `python -m tests.faults clock`."""

from __future__ import annotations

import random

from faults.clock import clock
from faults.workplace import Workplace


def test_a_clock_set_back_hides_nothing_and_stops_nothing(shimmed: Workplace, draw: random.Random) -> None:
    shimmed.verbs = ("preprocess", "evaluate")
    tallies = clock([shimmed], 4, draw)
    assert [tally.count for tally in tallies] == [2, 2, 0]
    assert [tally.wrong for tally in tallies] == [[], [], []]
