"""Two verbs at once on one RUN, OUT or file: one is told who writes, or both are right, as one after the other."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from .outcome import Tally, differences, leftovers
from .program import Program
from .workplace import Workplace

ON_RUN = ("plan", "preprocess", "train", "evaluate", "report", "run")
BESIDE = (("predict", "predict"), ("score", "score"), ("export", "export"), ("compare", "compare"), ("check", "check"))
MORE = {"train": ("--iterations", 36), "evaluate": ("--tolerance", 3)}  # so that they have something to do
REFUSAL = "writes to it (process"


def pairs(places: Sequence[Workplace], count: int, draw: random.Random) -> list[Tally]:
    """Start two verbs shortly one after the other, for every pair."""
    tallies = [Tally("two at once on one RUN"), Tally("two at once into one OUT or file")]
    every = [(0, pair) for pair in itertools.combinations_with_replacement(ON_RUN, 2)] + [(1, pair) for pair in BESIDE]
    for place in places:
        start = everything_done(place)
        known: dict[tuple[str, str], Path] = {}
        for which, (one, other) in (every * (1 + count // len(every)))[:count]:
            if {one, other} <= set(place.commands):
                together(place, start, draw.sample((one, other), 2), draw.uniform(0, 4), known, tallies[which])
    return tallies


def everything_done(place: Workplace) -> Path:
    """Return the state after all verbs, but for the report and half of the masks in OUT."""
    state = place.states / "everything"
    if not state.exists():
        place.restore(place.after("compare"))
        for file in sorted((place.work / "OUT").glob("*.nii.gz"))[::2]:
            file.unlink()
        place.keep(state)
    return state


def together(
    place: Workplace, start: Path, verbs: list[str], later_s: float, known: dict[tuple[str, str], Path], tally: Tally
) -> None:
    """Start the second verb a moment after the first; whoever was refused is begun again when both have ended."""
    one, other = verbs
    about = f"{place.name} {one}, {later_s:.1f} s later {other}"
    place.restore(start)
    first = place.start(one, more=MORE.get(one, ()))
    first.wait(later_s)
    second = place.start(other, more=MORE.get(other, ()))
    tally.add(about)
    for verb, program in ((one, first), (other, second)):
        if not program.wait(place.limit_s(verb)):
            tally.note("hung", f"{about}: {program.text[-300:]}")
        place.require_alone(verb, tally, program)
        _require_told(verb, program, about, tally)
    for verb, program in ((one, first), (other, second)):
        if program.code:
            again = place.start(verb, more=MORE.get(verb, ()))
            if not again.wait(place.limit_s(verb)) or again.code:
                tally.note("corrupt", f"{about}: {verb} afterwards: {again.code} {again.text[-300:]}")
    tally.wrong += [("left over", f"{about}: {left}") for left in leftovers(place.work)]
    actual = place.states / "together"
    shutil.rmtree(actual, ignore_errors=True)
    place.keep(actual)
    orders = dict.fromkeys([(one, other), (other, one)])
    found = [differences(_one_after_the_other(place, start, order, known), actual) for order in orders]
    if all(found):
        tally.wrong += [("corrupt", f"{about}: {difference}") for difference in found[0]]


def _require_told(verb: str, program: Program, about: str, tally: Tally) -> None:
    if program.code == 0:
        return
    lines = [line for line in program.text.splitlines() if line.startswith("error: ")]
    if program.code != 1 or "Traceback" in program.text or len(lines) != 1 or REFUSAL not in lines[0]:
        tally.note("unclear", f"{about}: {verb}: exit code {program.code}: {program.text[-1500:]}")


def _one_after_the_other(
    place: Workplace, start: Path, order: tuple[str, str], known: dict[tuple[str, str], Path]
) -> Path:
    if order not in known:
        place.restore(start)
        for verb in order:
            program = place.start(verb, more=MORE.get(verb, ()))
            if not program.wait(place.limit_s(verb)) or program.code:
                raise RuntimeError(f"autoseg {verb} of {order}: {program.code} {program.text}")
        known[order] = place.states / " then ".join(order)
        place.keep(known[order])
    return known[order]
