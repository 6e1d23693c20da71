"""Settings of a plan as the user gives them: KEY=VALUE, the key dotted, the value JSON."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from autoseg.errors import PlanError
from autoseg.plan import Plan, parse_plan

WRITE_SETTING = "write KEY=VALUE, a list as KEY=[1,2,3]"


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
        known = Plan.model_fields if not parents else branch  # what is not set is left out of the tree
        if not isinstance(branch, dict) or last not in known:
            keys = _keys(tree)
            near = difflib.get_close_matches(key, keys, n=3) or keys
            raise PlanError(f"--set {key}: the plan has no such key (lists are set whole); near it: {', '.join(near)}")
        try:
            branch[last] = json.loads(value)
        except (ValueError, RecursionError):  # a word, or what the plan will refuse
            branch[last] = value
    return parse_plan(json.dumps(tree), asked(settings), WRITE_SETTING)


def asked(settings: Mapping[str, str]) -> str:
    """Return settings as they are given on the command line."""
    return "--set " + " ".join(f"{key}={value}" for key, value in settings.items())


def _keys(tree: dict[str, Any], prefix: str = "") -> list[str]:
    parts = (_keys(v, f"{prefix}{key}.") if isinstance(v, dict) else [prefix + key] for key, v in tree.items())
    return [key for part in parts for key in part]
