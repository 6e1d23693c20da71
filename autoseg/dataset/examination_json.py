"""Examinations as JSON: what a part of a check leaves of each case for the call that gathers."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any

from autoseg.dataset.examine import Examination
from autoseg.dataset.facts import CaseFacts, ChannelFacts, Floats
from autoseg.dataset.findings import Finding
from autoseg.dataset.organ_facts import OrganFacts
from autoseg.imaging.grid import Grid

Values = Mapping[str, Any]


def to_json(value: Any) -> Any:
    """Return an examination, or a part of it, as what JSON holds: dataclasses as objects, rows of numbers as lists."""
    if is_dataclass(value):
        names = [one.name for one in fields(value)]
        return dict(zip(names, map(to_json, attrgetter("__class__", *names)(value)[1:]), strict=True))
    return list(map(to_json, value)) if isinstance(value, tuple | array) else value


def from_json(values: Values) -> Examination:
    """Return the examination that `to_json` has written, equal to the one before.

    Raises:
        KeyError: If it is of another form.
    """
    facts = values["facts"]
    return Examination(
        case=values["case"],
        facts=None if facts is None else _facts(facts),
        findings=tuple(Finding(**finding) for finding in values["findings"]),
        names=tuple(values["names"]),
    )


def _facts(values: Values) -> CaseFacts:
    rest = dict(values)
    return CaseFacts(
        grid=_grid(rest.pop("grid")),
        stored=_grid(rest.pop("stored")),
        channels=tuple(ChannelFacts(**{**one, "thumbnail": _floats(one["thumbnail"])}) for one in rest.pop("channels")),
        organs=tuple(OrganFacts(one["value"], array("d", one["row"])) for one in rest.pop("organs")),
        sample=tuple(map(_floats, rest.pop("sample"))),
        **_tuples(rest),
    )


def _grid(values: Values) -> Grid:
    return Grid(**_tuples(values))


def _floats(values: list[float]) -> Floats:
    return array("f", values)


def _tuples(values: Values) -> dict[str, Any]:
    """Return values with every list as a tuple."""
    return {name: _tuple(value) for name, value in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
