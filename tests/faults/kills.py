"""SIGKILL at random moments: whatever a verb was doing, the same command then ends as if nothing had been."""

from __future__ import annotations

import csv
import json
import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from autoseg.network.weights import read_facts
from autoseg.training.checkpoint import CHECKPOINT

from .outcome import Tally
from .workplace import Workplace

LONGEST_S = 10.0  # that a verb lives at most, however long it takes
LONG = {"report": 0.4, "run": 0.4, "demo": 0.6}  # share of kills of a verb that takes long


def kills(places: Sequence[Workplace], count: int, draw: random.Random) -> list[Tally]:
    """Kill every verb; return the tallies of whole process groups, and of the verb's main process alone."""
    tallies = {True: Tally("SIGKILL of a verb and its workers"), False: Tally("SIGKILL of a verb's main process alone")}
    for place, verb, share in shares(places, count):
        kill_again_and_again(place, verb, share, draw, tallies)
    return list(tallies.values())


def shares(places: Sequence[Workplace], count: int) -> Iterator[tuple[Workplace, str, int]]:
    """Yield every verb of every place, and how many of `count` faults fall on it."""
    weights = [(place, verb, LONG.get(verb, 1.0)) for place in places for verb in place.verbs]
    whole = sum(weight for _, _, weight in weights)
    for place, verb, weight in weights:
        yield place, verb, max(1, round(count * weight / whole))


def kill_again_and_again(
    place: Workplace, verb: str, count: int, draw: random.Random, tallies: dict[bool, Tally]
) -> None:
    """Kill a verb `count` times at random moments and begin it again each time; at last let it end."""
    place.after(verb)
    longest = min(LONGEST_S, place.seconds[verb])
    place.restore(place.before(verb))
    killed, done_before = 0, dict[str, int]()
    while True:
        to_all = draw.random() < 0.5
        tally = tallies[to_all]
        program = place.start(verb, more=("--workers", draw.randrange(3)) if verb == "train" else ())
        if killed == count or program.wait(draw.uniform(0, longest)):  # this one ends, before it could be killed
            if place.require_end(verb, tally, program):
                _require_no_less(place, verb, done_before, work_done(place.work), tally)
            if killed == count:
                return
            place.restore(place.before(verb))
            done_before = {}
            continue
        program.send(signal.SIGKILL, to_all)
        killed += 1
        tally.add(f"{place.name} {verb}")
        place.require_alone(verb, tally, program)
        done_now = work_done(place.work)
        _require_no_less(place, verb, done_before, done_now, tally)
        done_before = done_now


def _require_no_less(place: Workplace, verb: str, before: dict[str, int], now: dict[str, int], tally: Tally) -> None:
    """Note what was done before a kill and is gone, or was done again: a file made anew has another inode."""
    for name, which in before.items():
        if name.endswith("checkpoint.safetensors"):  # its iteration
            if now.get(name, -1) < which:
                tally.note("lost", f"{place.name} {verb}: {name} was at {which}, is at {now.get(name)}")
        elif now.get(name) != which:
            tally.note("lost", f"{place.name} {verb}: {name} was {'made again' if name in now else 'there'}")


def work_done(work: Path) -> dict[str, int]:
    """Return what is noted as done, by file: the inode, of a checkpoint the iteration."""
    files: list[Path] = []
    for run in (work / "RUN", work / "DEMO"):
        files += run.glob("phantoms/labelsTr/[!.]*")
        for record in run.glob("cache/[!.]*.json"):
            files += record.parent.glob(f"{record.stem}.*")
        for journal in run.glob("fold-*/evaluated.jsonl"):
            lines = [line for line in journal.read_text().splitlines() if line.endswith("}")]
            files += [journal.parent / "predictions" / f"{json.loads(line)['case']}.nii.gz" for line in lines]
        drawn = run / "report" / "drawn.json"
        files += [drawn.parent / name for name in json.loads(drawn.read_text())] if drawn.exists() else []
    table = work / "OUT" / "predictions.csv"
    if table.exists():
        with table.open(newline="") as stream:
            files += [table.parent / f"{row['case']}.nii.gz" for row in csv.DictReader(stream)]
    done = {str(file.relative_to(work)): file.stat().st_ino for file in files if file.exists()}
    for checkpoint in work.glob("*/fold-*/checkpoint.safetensors"):
        done[str(checkpoint.relative_to(work))] = int(read_facts(checkpoint, CHECKPOINT)["iteration"])
    return done
