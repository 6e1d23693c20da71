"""A disk that is full, read-only or broken at any write or read: one line, and afterwards the same command goes on."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence

from .kills import shares
from .outcome import Tally, differences
from .workplace import Workplace

NOTES = (".json", ".jsonl", "predictions.csv")  # may say that a file could not be read: it is then made again
NOTED = tuple(f"{name} differs" for name in NOTES)
KILL = 0  # in place of an error: the process group is killed
FAULTS = (  # error, what fails, whether all that follows fails too
    (errno.ENOSPC, "write", True),
    (errno.ENOSPC, "write", False),
    (errno.EROFS, "write", True),
    (errno.EIO, "write", False),
    (errno.EIO, "read", False),
    (KILL, "write", False),
)


def disk(places: Sequence[Workplace], count: int, draw: random.Random) -> list[Tally]:
    """Let the N-th write or read of every verb fail, N drawn at random; the verb is then begun again."""
    tallies = {fault: Tally(name_of(*fault)) for fault in FAULTS}
    for place, verb, share in shares(places, count):
        place.after(verb)
        first = draw.randrange(len(FAULTS))
        for number in range(first, first + share):
            fault = FAULTS[number % len(FAULTS)]
            operations = place.operations[verb][fault[1]]
            if operations:
                fail_once(place, verb, draw.randint(1, operations), fault, tallies[fault])
    return list(tallies.values())


def name_of(code: int, kind: str, lasting: bool) -> str:
    """Return a fault in words."""
    what = errno.errorcode[code] if code else "SIGKILL"
    return f"{what} at the N-th {kind}" + (" and all after it" if lasting else "")


def fail_once(place: Workplace, verb: str, at: int, fault: tuple[int, str, bool], tally: Tally) -> None:
    """Let one operation of a verb fail, then begin it again."""
    code, kind, lasting = fault
    about = f"{place.name} {verb}, {name_of(*fault)} ({at} of {place.operations[verb][kind]})"
    place.restore(place.before(verb))
    place.shared.reset()
    environment = {"FAULTS_KIND": kind, "FAULTS_AT": str(at), "FAULTS_ERRNO": str(code)}
    program = place.start(verb, environment=environment | ({"FAULTS_LASTING": "1"} if lasting else {}))
    tally.add(about)
    if not program.wait(place.limit_s(verb)):
        tally.note("hung", f"{about}: {program.text[-300:]}")
    place.require_alone(verb, tally, program)
    if code != KILL:
        if "Traceback" in program.text or program.code not in (0, 1):
            tally.note("unclear", f"{about}: exit code {program.code}: {program.text[-2500:]}")
        if program.code == 0 and os.strerror(code) not in program.text:  # it says nothing, so all must be there
            for difference in differences(place.after(verb), place.work):
                if not difference.endswith(NOTED):
                    tally.note("corrupt", f"{about}, untold: {difference}")
    before = len(tally.wrong)
    place.require_end(verb, tally)
    tally.wrong[before:] = [(kind, f"after {about}: {what}") for kind, what in tally.wrong[before:]]
