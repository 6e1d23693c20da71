"""Kill or stop one process that a verb has started: its work is done all the same, or one line says what is missing."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence

from .kills import LONGEST_S
from .outcome import Tally
from .workplace import Workplace

# by the verb that starts it: the process that prepares, scores or draws a case, augments, measures a step, trains
KINDS = {"check": "pool", "preprocess": "pool", "score": "pool", "report": "pool", "train": "augmenter"}
KINDS |= {"measure": "measure", "team": "team"}
STARTED = ("spawn_main", "autoseg.network.launch", "-m autoseg train")  # in the command lines of such processes
SOON = "import autoseg.processes as p; p.HANGS_S, p.EXAMINE_S = 4.0, 0.5"  # for one minute, and five seconds
SIGNALS = (signal.SIGKILL, signal.SIGSTOP)


def workers(places: Sequence[Workplace], count: int, draw: random.Random) -> list[Tally]:
    """Kill (as a machine without memory does) or stop a process of each kind, at random moments."""
    tallies = {
        (number, kind): Tally(f"{number.name} of a worker: {kind}")
        for number in SIGNALS
        for kind in dict.fromkeys(KINDS.values())
        if (number, kind) != (signal.SIGSTOP, "team")  # PyTorch waits for it for half an hour
    }
    cases = [
        (place, verb, fault)
        for place in places
        for verb, kind in KINDS.items()
        for fault in tallies
        if fault[1] == kind
    ]
    for place, verb, fault in (cases * (1 + count // len(cases)))[:count]:
        if verb in place.commands:
            disturb_worker(place, verb, draw.random(), fault[0], draw, tallies[fault])
    return list(tallies.values())


def disturb_worker(
    place: Workplace, verb: str, moment: float, number: signal.Signals, draw: random.Random, tally: Tally
) -> None:
    """Kill or stop one worker of a verb, `moment` of the way from its start to the verb's usual end."""
    place.after(verb)
    place.restore(place.before(verb))
    about = f"{number.name} {place.name} {verb}"
    program = place.start(verb, SOON)

    def of_work() -> list[int]:
        return [pid for pid, name in program.children().items() if any(part in name for part in STARTED)]

    if program.wait(place.limit_s(verb), until=of_work) or program.wait(moment * min(LONGEST_S, place.seconds[verb])):
        return
    alive = of_work()
    if not alive:
        program.wait(place.limit_s(verb))
        return
    tally.add(about)
    program.send_to(draw.choice(alive), number)
    if not program.wait(place.limit_s(verb)):
        tally.note("hung", f"{about}: {program.text[-500:]}")
    elif program.code == 0:
        place.require_end(verb, tally, program)
        return
    elif (
        program.code != 1
        or "Traceback" in program.text
        or not any(w in program.text for w in ("killed", "did nothing"))
    ):
        tally.note("unclear", f"{about}: exit code {program.code}: {program.text[-1500:]}")
    place.require_alone(verb, tally, program)
    place.require_end(verb, tally)
