"""Notations: how values of options are written on the command line where their type does not say it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoseg.errors import PlanError
from autoseg.flags import Notation
from autoseg.parts import Part, read_part


def seconds_of(text: str) -> float:
    """Return a time in seconds.

    Raises:
        PlanError: If the text is not a number with s, m, h or d behind it.

    >>> seconds_of("45m")
    2700.0
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    try:
        seconds = float(text[:-1]) * units[text[-1:]]
    except (ValueError, KeyError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise PlanError(f"--time-budget {text}: give a time as 90s, 45m, 2h or 1d")
    return seconds


def _settings_of(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    wrong = [key for key, equals, _ in pairs if not equals or not key]
    if wrong:
        raise PlanError(f"--set {wrong[0]}: write it as KEY=VALUE, as in --set batch_size=2")
    return {key.strip(): value for key, _, value in pairs}


def _folds_of(text: str) -> tuple[int, ...] | None:
    if text != "all" and not text.isdigit():
        raise PlanError(f"--fold {text}: give a number or all")
    return None if text == "all" else (int(text),)


def _part_of(text: str) -> Part:
    part = read_part(text)
    if part is None:
        raise PlanError(f"--part {text}: give the part and how many there are, as in 1/3, 2/3 and 3/3")
    return part


TIME = Notation(asked_as=str, read=seconds_of, write=lambda seconds: [f"{seconds:.15g}s"])
FOLD = Notation(asked_as=str, read=_folds_of, write=lambda folds: ["all" if folds is None else str(folds[0])])
PART = Notation(asked_as=str, read=_part_of, write=lambda part: [str(part)])
NAMES = Notation(asked_as=list[str], read=tuple, write=list)
SETTINGS = Notation(
    asked_as=list[str], read=_settings_of, write=lambda settings: [f"{key}={value}" for key, value in settings.items()]
)
