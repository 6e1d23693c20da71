"""What was done to a run: the commands, from its log, and how long each fold was trained, from the folds' logs."""

from __future__ import annotations

import re

from autoseg.run import Run
from autoseg.training.log import read_rows
from autoseg.words import counted, in_minutes

_COMMAND = re.compile(r"\S+ \S+ INFO (?:\S*/)?(autoseg .+)")  # a line of log.txt that says what was typed


def commands_of(run: Run) -> tuple[str, ...]:
    """Return the commands that worked on a run, each once, in the order of their first use."""
    file = run.log_file
    if not file.is_file():
        return ()
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return tuple(dict.fromkeys(found[1] for line in lines if (found := _COMMAND.fullmatch(line))))


def trainings_of(run: Run) -> tuple[str, ...]:
    """Return a sentence for each fold that was trained: its iterations, and the time they took."""
    told = []
    for fold in run.folds():
        rows = read_rows(run.fold(fold).log)
        if rows:
            done = counted(int(rows[-1]["iteration"]), "iteration")
            seconds = sum(float(row.get("seconds") or 0) for row in rows)
            told.append(f"Fold {fold} was trained for {done}; its steps took {in_minutes(seconds)}.")
    return tuple(told)
