"""SIGTERM, SIGHUP and Ctrl-C at random moments: 130 and one line within seconds, nothing left, and the work goes on."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence

from .kills import LONGEST_S, shares
from .outcome import Tally, leftovers
from .workplace import Workplace

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
END_S = 10.0  # from the signal to the line
SERIES = 3  # interruptions of a verb before it may end


def signals(places: Sequence[Workplace], count: int, draw: random.Random) -> list[Tally]:
    """Interrupt every verb, alone or, as a terminal does, with all that it has started."""
    tallies = {number: Tally(f"{number.name} to a verb, or to its workers, too") for number in SIGNALS}
    for place, verb, share in shares(places, count):
        longest = min(LONGEST_S, place.after(verb) and place.seconds[verb])
        for first in range(0, share, SERIES):
            place.restore(place.before(verb))
            for _ in range(min(SERIES, share - first)):
                interrupt(place, verb, draw.uniform(0, longest), draw.choice(SIGNALS), draw.random() < 0.5, tallies)
            place.require_end(verb, tallies[SIGNALS[0]])
    return list(tallies.values())


def interrupt(
    place: Workplace,
    verb: str,
    after_s: float,
    number: signal.Signals,
    to_all: bool,
    tallies: dict[signal.Signals, Tally],
) -> None:
    """Interrupt a verb once; note whether it ends as it should."""
    tally, about = tallies[number], f"{place.name} {verb} after {after_s:.1f} s"
    program = place.start(verb)
    if program.wait(place.limit_s(verb), until=lambda: program.heeds(signal.SIGTERM)) or program.wait(after_s):
        return
    program.send(number, to_all)
    began = time.monotonic()
    program.wait(END_S, until=lambda: "interrupted" in program.text)
    told_s = time.monotonic() - began
    if not program.wait(place.limit_s(verb)):
        tally.note("hung", f"{about}: {program.text[-300:]}")
    elif program.code == 130 and told_s >= END_S:
        tally.note("hung", f"{about}: said so more than {END_S:g} s later")
    lines = program.text.strip().splitlines()
    if program.code == -number and place.has_ended(verb):
        return  # Python was already cleaning up
    tally.add(about)
    if program.code not in (0, 130) or "Traceback" in program.text:
        tally.note("unclear", f"{about}: exit code {program.code}: {program.text[-1500:]}")
    elif program.code and "interrupted" not in lines[-1]:
        tally.note("unclear", f"{about}: {lines[-1]}")
    place.require_alone(verb, tally, program)
    for left in leftovers(place.work):
        tally.note("left over", f"{about}: {left}")
