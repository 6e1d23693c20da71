"""A verb that was killed goes on as if nothing had been; the long form is `python -m tests.faults kills`."""

from __future__ import annotations

import random

from faults.kills import kills
from faults.workplace import Workplace


def test_a_verb_that_was_killed_goes_on_and_ends_the_same(place: Workplace, draw: random.Random) -> None:
    place.verbs = ("preprocess", "train", "predict")
    tallies = kills([place], 6, draw)
    assert sum(tally.count for tally in tallies) == 6
    assert [tally.wrong for tally in tallies] == [[], []]
