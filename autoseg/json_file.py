"""JSON that others may have written: sound and of the form that is needed, or one error that says what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypeVar

from autoseg.errors import AutosegError

Form = TypeVar("Form", dict[str, Any], list[Any])

MOST_DEPTH = 64  # brackets within brackets; Python's own limit would end in a RecursionError here or anywhere later
LARGEST = 2**64  # no number is larger: numpy could not hold it, and Python would not print one of 5,000 digits
_FORMS = {dict: "an object, as in {…}", list: "a list, as in […]"}
_LONG = re.compile(r"\d{20}")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # half of a character, which no file and no console can show


class JsonError(AutosegError, ValueError):
    """A text is no sound JSON, or of another form than is needed; the message names the file and the line."""


def read_json(file: Path, form: type[Form]) -> Form:
    """Read a JSON file.

    Args:
        file: In UTF-8, with or without a mark at its start.
        form: `dict` or `list`: what it must hold.

    Raises:
        JsonError: If its content is not that.
        OSError: If it cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonError(f"{file}: cannot be read, byte {error.start} is not UTF-8; save it as UTF-8") from error
    return parse_json(text, str(file), form)


def parse_json(text: str, source: str, form: type[Form]) -> Form:
    """Return the object or list that a JSON text holds.

    Args:
        text: The JSON.
        source: What it is called in messages.
        form: `dict` or `list`.

    Raises:
        JsonError: If it is not sound JSON or holds anything else, is nested deeper than `MOST_DEPTH`, names a key twice
            with different values, or holds a number of `LARGEST` or more, or half a character.
    """
    try:
        value = json.loads(text, parse_int=_whole if _LONG.search(text) else None, object_pairs_hook=_object)
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise JsonError(f"{source}, line {error.lineno}: not valid JSON ({error.msg}); correct that line") from error
    except UnicodeEncodeError as error:
        raise JsonError(
            f"{source}: not valid JSON (half a character, {error.object[error.start]!a}); correct it"
        ) from error
    except ValueError as error:
        raise JsonError(f"{source}: not valid JSON ({error}); correct it") from error
    except RecursionError as error:
        raise JsonError(f"{source}: not valid JSON (brackets within brackets, too deep); correct it") from error
    if not isinstance(value, form):
        raise JsonError(f"{source}: must hold {_FORMS[form]}; correct it")
    if _depth(value) > MOST_DEPTH:
        raise JsonError(f"{source}: not valid here (more than {MOST_DEPTH} brackets within each other); correct it")
    return value


def _whole(digits: str) -> int:
    if len(digits) > len(str(LARGEST)) + 1 or abs(int(digits)) >= LARGEST:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; one of the values of a key that occurs twice would be lost without a word."""
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = [key for key, entry in pairs if entry != value[key]]
        if twice:
            raise ValueError(f"the key {twice[0][:80]!a} twice, with different values")
    return value


def _depth(value: dict[str, Any] | list[Any]) -> int:
    """Return how many brackets lie within each other, counted up to one more than `MOST_DEPTH`."""
    depth, level = 0, [value]
    while level and depth <= MOST_DEPTH:
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return depth
