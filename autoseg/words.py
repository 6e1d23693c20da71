"""Numbers of things, and times, in sentences."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return a number with what it counts, in the plural unless it is one.

    >>> counted(1, "case"), counted(0, "case"), counted(20, "testing case")
    ('1 case', '0 cases', '20 testing cases')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def in_minutes(seconds: float) -> str:
    """Return a time as a reader would say it.

    >>> in_minutes(42.4), in_minutes(1503), in_minutes(40000)
    ('42 s', '25 min', '11 h 7 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
