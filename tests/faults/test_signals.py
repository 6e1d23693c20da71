"""An interruption at any moment ends a verb in one line; the long form is `python -m tests.faults signals`."""

from __future__ import annotations

import pytest
from faults.outcome import Tally
from faults.signals import SIGNALS, interrupt
from faults.workplace import Workplace


@pytest.mark.parametrize(("verb", "which"), [("preprocess", 0), ("train", 1), ("evaluate", 2)])
def test_an_interrupted_verb_says_so_and_goes_on(verb: str, which: int, place: Workplace) -> None:
    place.after(verb)
    place.restore(place.before(verb))
    tally = Tally(verb)
    interrupt(place, verb, 0.1, SIGNALS[which], True, {SIGNALS[which]: tally})
    place.require_end(verb, tally)
    assert tally.count == 1
    assert tally.wrong == []
