"""Settings of a plan as the user gives them: KEY=VALUE, the key dotted, the value JSON."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from autoseg.errors import PlanError
from autoseg.plan import Plan, in_one_line, parse_plan

WRITE_SETTING = "write KEY=VALUE, a list as KEY=[1,2,3]"


def require_values(settings: Mapping[str, str]) -> None:
    """Refuse settings whose keys or values no plan can have, each by itself, before there is one that they change.

    Raises:
        PlanError: If there is one.
    """
    for key, value in settings.items():
        tree: Any = _value(value)
        for part in reversed(key.split(".")):
            tree = {part: tree}
        try:
            Plan.model_validate_json(json.dumps(tree))
        except ValidationError as error:
            wrong = [item for item in error.errors() if item["type"] != "missing"]  # what else a plan needs, it has
            if unknown := [item for item in wrong if item["type"] == "extra_forbidden"]:
                *parents, last = map(str, unknown[0]["loc"])
                raise _unknown(key, last, [".".join((*parents, name)) for name in _fields_of(parents)]) from error
            if wrong:
                raise PlanError(f"{asked({key: value})}: {in_one_line(wrong)}; {WRITE_SETTING}") from error


def _fields_of(path: Sequence[str]) -> list[str]:
    """Return the keys of a part of a plan."""
    part: type[BaseModel] = Plan
    for name in path:
        annotation = part.model_fields[name].annotation if name in part.model_fields else None
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        part = next((kind for kind in kinds if issubclass(kind, BaseModel)), part)
    return list(part.model_fields)


def _unknown(key: str, name: str, keys: Sequence[str]) -> PlanError:
    """Return the error of a key that no plan has, with those that are called nearly so."""
    near = difflib.get_close_matches(key, keys, n=3) or difflib.get_close_matches(name, keys, n=3) or keys
    return PlanError(f"--set {key}: the plan has no such key (lists are set whole); near it: {', '.join(near)}")


def with_settings(plan: Plan, settings: dict[str, str]) -> Plan:
    """Return `plan` with some keys replaced, validated as a whole.

    Args:
        plan: The plan to change.
        settings: Dotted key to JSON value, as in {"crop_size": "[32,32,32]", "optimiser.averaging": "0.99"}.

    Raises:
        PlanError: If a key is unknown or the result is not valid.
    """
    tree: dict[str, Any] = plan.model_dump(mode="json")
    for key, value in settings.items():
        *parents, last = key.split(".")
        branch: Any = tree
        for parent in parents:
            branch = branch.get(parent) if isinstance(branch, dict) else None
        if not isinstance(branch, dict) or last not in _fields_of(parents):  # what is not set is not in the tree
            raise _unknown(key, last, _keys(tree))
        branch[last] = _value(value)
    return parse_plan(json.dumps(tree), asked(settings), WRITE_SETTING)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a word, or what the plan will refuse
        return text


def asked(settings: Mapping[str, str]) -> str:
    """Return settings as they are given on the command line."""
    return "--set " + " ".join(f"{key}={value}" for key, value in settings.items())


def _keys(tree: dict[str, Any], prefix: str = "") -> list[str]:
    parts = (_keys(v, f"{prefix}{key}.") if isinstance(v, dict) else [prefix + key] for key, v in tree.items())
    return [key for part in parts for key in part]
