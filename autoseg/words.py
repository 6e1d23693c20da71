"""Numbers, times and names as sentences and Markdown show them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(number: int, thing: str) -> str:
    """Return a number with what it counts, in the plural unless it is one.

    >>> counted(1, "case"), counted(0, "case"), counted(20, "testing case")
    ('1 case', '0 cases', '20 testing cases')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def in_words(number: int, thing: str) -> str:
    """Return a number with what it counts, small numbers written out as in a sentence.

    >>> in_words(1, "patient"), in_words(2, "patient"), in_words(20, "patient")
    ('one patient', 'two patients', '20 patients')
    """
    names = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return counted(number, thing).replace(str(number), names[number]) if number < len(names) else counted(number, thing)


def span(numbers: Sequence[int]) -> str:
    """Return how far some numbers reach.

    >>> span([22, 22]), span([21, 23, 22])
    ('22', '21 to 23')
    """
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def in_gib(gib: float) -> str:
    """Return an amount of memory or disk, below one GiB in MiB.

    >>> in_gib(1.25), in_gib(0.5)
    ('1.2 GiB', '512 MiB')
    """
    return f"{gib:.1f} GiB" if gib >= 1 else f"{1024 * gib:.0f} MiB"


def in_minutes(seconds: float) -> str:
    """Return a time as a reader would say it.

    >>> in_minutes(42.4), in_minutes(1503), in_minutes(40000)
    ('42 s', '25 min', '11 h 7 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def shortened(what: object, most: int = 80) -> str:
    r"""Return a text, or the text of an error, for a message.

    It is on one line, cut to `most` characters, with what a console would obey written out.

    >>> shortened("a" * 100, 5), shortened("red \x1b[31m"), shortened(ValueError("one\ntwo"))
    ('aaaa…', 'red \\x1b[31m', 'one two')
    """
    text = " ".join(str(what).split())
    return printable(text if len(text) <= most else f"{text[: most - 1]}…")


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first of some names, and a mark where there are more.

    >>> some(["a", "b", "c"], 2), some(["a", "b"], 2)
    ('a, b, …', 'a, b')
    """
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def printable(text: str) -> str:
    r"""Return a text with every character written out that a console or an editor would obey instead of show.

    These are control characters but for line breaks and tabs, marks that change the direction of writing, and the
    bytes of file names that are not UTF-8.

    >>> printable("caf\udce9"), printable("a\u202eb"), printable("Größe")
    ('caf\\xe9', 'a\\u202eb', 'Größe')
    """
    return _OBEYED.sub(_written_out, text)


def is_text(name: str) -> bool:
    r"""Return whether the name of a file is UTF-8 on the disk.

    >>> is_text("Größe"), is_text("caf\udce9")
    (True, False)
    """
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name, as Python carries it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


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
