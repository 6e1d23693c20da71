"""Flags: how the command line asks for the fields of an options dataclass, and writes their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

_OPTION = "option"  # key of a field's metadata


@dataclass(frozen=True, kw_only=True)
class Notation:
    """How a value is written on the command line, where its type does not say it."""

    asked_as: Any  # type of what the command line hands over
    read: Callable[[Any], Any]
    write: Callable[[Any], Sequence[str]]  # one text for each time that the flag is given; the inverse of `read`


@dataclass(frozen=True, kw_only=True)
class Option:
    """How the command line asks for one field of an options dataclass."""

    flags: tuple[str, ...]  # as in ("-j", "--jobs"), or ("--open/--no-open",)
    help: str
    metavar: str | None = None
    least: int | float | None = None  # smallest value that is allowed
    notation: Notation | None = None  # None: as its type is written
    excludes: str | None = None  # flag that must not be given, too
    refusal: str | None = None  # why it is not to be had here, and what to do in its place; None: it is
    decides: bool = True  # whether what the verb writes is another with another value

    @property
    def flag(self) -> str:
        """The flag that sets it, as in --jobs."""
        return self.flags[-1].partition("/")[0]

    def arguments(self, value: Any) -> list[str]:
        """Return the command line's words for a value."""
        if isinstance(value, bool):
            return [self.flag if value else self.flags[-1].partition("/")[2]]
        texts = [str(value)] if self.notation is None else self.notation.write(value)
        return [word for text in texts for word in (self.flag, text)]


def option(
    default: Any,
    *flags: str,
    help: str,  # noqa: A002 - the word of the command line
    metavar: str | None = None,
    least: int | float | None = None,
    notation: Notation | None = None,
    excludes: str | None = None,
    refusal: str | None = None,
    decides: bool = True,
) -> Any:
    """Return a field that is an option of the command line."""
    about = Option(
        flags=flags,
        help=help,
        metavar=metavar,
        least=least,
        notation=notation,
        excludes=excludes,
        refusal=refusal,
        decides=decides,
    )
    metadata = {_OPTION: about}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(kind: type[Any]) -> dict[str, Option]:
    """Return the options of a dataclass by field; a field without one is not asked for."""
    return {one.name: one.metadata[_OPTION] for one in fields(kind) if _OPTION in one.metadata}


def arguments_of(options: Any) -> list[str]:
    """Return the command line that gives these options: a flag for each that differs from its default.

    >>> @dataclass
    ... class Training:
    ...     iterations: int = option(10, "--iterations", help="How many.")
    ...     fast: bool = option(False, "--fast", help="Whether fast.")
    >>> arguments_of(Training(iterations=500, fast=True))
    ['--iterations', '500', '--fast']
    """
    values, asked = vars(options), options_of(type(options))
    changed = {one.name: values[one.name] for one in fields(options) if values[one.name] != _default(one)}
    return [word for name, value in changed.items() if name in asked for word in asked[name].arguments(value)]


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()
