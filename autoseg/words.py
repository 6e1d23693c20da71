"""Numbers of things in sentences."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return a number with what it counts, in the plural unless it is one.

    >>> counted(1, "case"), counted(0, "case"), counted(20, "testing case")
    ('1 case', '0 cases', '20 testing cases')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
