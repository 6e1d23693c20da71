"""Numbers, times and names as sentences and Markdown show them."""

from __future__ import annotations

from collections.abc import Sequence


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


def joined(values: Sequence[float], digits: int = 2) -> str:
    """Return numbers joined by ×, floats with at most `digits` decimals.

    >>> joined((96, 96, 64)), joined((2.5, 1.0, 0.333))
    ('96 × 96 × 64', '2.5 × 1 × 0.33')
    """
    return " × ".join(
        f"{v:.{digits}f}".rstrip("0").rstrip(".") if digits and isinstance(v, float) else f"{v:.0f}" for v in values
    )


def escape(name: str) -> str:
    r"""Return a name escaped for a line or a table cell of Markdown.

    >>> escape("a|b<c")
    'a\\|b&lt;c'
    """
    return name.replace("|", "\\|").replace("<", "&lt;")
