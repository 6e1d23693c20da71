"""What the command line shows: lines, tables, warnings; and how it ends when it is interrupted."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autoseg.machine import process_place
from autoseg.processes import ENDING, is_heard
from autoseg.words import counted, printable

if TYPE_CHECKING:
    from autoseg.dataset.findings import Finding

GAP = 2  # characters between a table's columns
console = Console(highlight=False)
logger = logging.getLogger("autoseg")


@contextmanager
def output() -> Iterator[None]:
    """Let the program talk to the user: lines, bars, and its warnings; of processes that train together the first."""
    is_first, propagates = is_first_process(), logger.propagate
    warnings = _Warnings()  # failures are shown by the command line itself
    warnings.addFilter(lambda record: is_first and record.levelno == logging.WARNING)
    warnings.addFilter(Once())
    console.quiet = not is_first
    logger.propagate = False  # to RUN/log.txt, and warnings to the console
    logger.addHandler(warnings)
    try:
        yield
    finally:
        logger.removeHandler(warnings)
        logger.propagate, console.quiet = propagates, False


def is_first_process() -> bool:
    """Return whether this is the process that talks, of those that train together."""
    return process_place().rank == 0


def is_live() -> bool:
    """Return whether there is a terminal in which a line can be written anew."""
    return console.is_terminal and not console.is_dumb_terminal and not console.quiet


def plain(text: str) -> str:
    """Return a text as the console prints it: no markup, nothing in it that the console would obey."""
    return escape(printable(text))


class PrintableFormatter(logging.Formatter):
    """Formats a record so that nothing in it is obeyed by a console."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        return printable(super().format(record))


class Once(logging.Filter):
    """Lets each text through once."""

    def __init__(self) -> None:
        """Begin."""
        super().__init__()
        self._known: set[tuple[int, str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the text of a record is new."""
        text = record.levelno, record.getMessage()
        is_new = text not in self._known
        self._known.add(text)
        return is_new


class _Warnings(logging.Handler):
    """Prints warnings to standard error, above a bar that may be there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        say_error(record.getMessage(), "warning", "yellow")


def say(text: str) -> None:
    """Print one line, in a terminal broken between words; what is longer than a row, as a path, stays whole."""
    console.print(plain(_wrapped(text, console)), soft_wrap=True)


def say_next(*command: object) -> None:
    """Print the command that usually comes next, as one line that can be copied; not in one process of several."""
    if process_place().size == 1:
        words = shlex.join(["autoseg", *map(str, command)])
        console.print(f"[dim]next:[/dim] {plain(words)}", soft_wrap=True)


def say_error(text: str, kind: str = "error", colour: str = "red") -> None:
    """Print one line to standard error; in a terminal above a bar that may be there."""
    errors = console if is_live() and sys.stderr.isatty() else Console(stderr=True, highlight=False)
    shown = _wrapped(f"{kind}: {text}", errors).removeprefix(kind)
    errors.print(f"[{colour}]{kind}[/{colour}]{plain(shown)}", soft_wrap=True)


def _wrapped(text: str, to: Console) -> str:
    if not to.is_terminal:
        return text
    wrap = partial(textwrap.fill, width=to.width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrap(line) for line in text.split("\n"))


def show_findings(findings: list[Finding]) -> None:
    """Print the data check as a table; notes of one kind are one row."""
    if not findings:
        return
    table = Table("severity", "case", "found", "what to do", title="Data check")
    colours = {"fatal": "red", "warning": "yellow"}
    notes: dict[str, list[Finding]] = {}
    for f in findings:
        if f.severity == "note":
            notes.setdefault(f.code, []).append(f)
        else:
            table.add_row(f"[{colours[f.severity]}]{f.severity}", plain(f.case), plain(f.found), plain(f.fix))
    for same in notes.values():
        also = f" (and {counted(len(same) - 1, 'more row')}, see --json)" if len(same) > 1 else ""
        table.add_row("[dim]note", plain(same[0].case), plain(same[0].found + also), plain(same[0].fix))
    console.print(table)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of results; the first column names the rows, the others are numbers. Only whole words wrap."""
    lines = [columns, *rows]
    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    widths = _widths(lines, console.width - GAP * (len(columns) - 1))
    for place, (column, width) in enumerate(zip(columns, widths, strict=True)):
        shown.add_column(plain(column), justify="right" if place else "left", overflow="fold", width=width)
    for row in lines[1:]:
        shown.add_row(*(plain(value) for value in row))
    say(title)
    console.print(shown)


def _widths(lines: Sequence[Sequence[str]], room: int) -> list[int | None]:
    """Return a width for each column so that only whole words wrap; None: rich chooses, as all fits or nothing does.

    Cells come before headings, and first the columns where most of them would wrap.
    """
    columns = list(zip(*lines, strict=True))
    widths = [max(len(word) for cell in column for word in (cell.split() or [""])) for column in columns]
    if sum(max(map(len, column)) for column in columns) <= room or sum(widths) > room:
        return [None] * len(columns)
    broken = [sum(len(cell) > least for cell in column[1:]) for column, least in zip(columns, widths, strict=True)]
    spare = room - sum(widths)
    for first in (1, 0):  # the cells; then with the heading
        for place in sorted(range(len(columns)), key=lambda place: -broken[place]):
            wanted = max(map(len, columns[place][first:]), default=0)
            more = max(0, min(spare, wanted - widths[place]))
            widths[place] += more
            spare -= more
    return list(widths)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does: what is half written is removed, and workers are ended."""
    for number in ENDING:
        if number != signal.SIGINT and is_heard(number):
            signal.signal(number, signal.default_int_handler)


def ignore_signals() -> None:
    """Let nothing interrupt Python's own cleaning up: the work is done and said, and the exit code stands."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def exit_when_interrupted(text: str) -> Iterator[None]:
    """Turn an interruption into one line and exit code 130.

    Raises:
        typer.Exit: With 130, if the user interrupted or the system asked to end.
    """
    try:
        yield
    except KeyboardInterrupt:
        with suppress(OSError):  # the terminal may be gone
            say(text)
        raise typer.Exit(130) from None


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Give a question whether Ctrl-C was pressed or the system asked to end; a second Ctrl-C interrupts at once."""
    pressed = []

    def note(number: int, frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(OSError):  # the terminal may be gone
            console.print("stopping after this iteration; press Ctrl-C again to stop at once")

    before = {number: signal.signal(number, note) for number in ENDING if is_heard(number)}
    try:
        yield lambda: bool(pressed)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
