"""Presets: plans that ship, or a user's plan file, applied to another dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.errors import PlanError
from autoseg.json_file import JsonError, parse_json
from autoseg.network.build import require_known
from autoseg.network.device import DeviceName
from autoseg.options import PlanOptions
from autoseg.plan import Plan, parse_plan
from autoseg.planning import rules
from autoseg.planning.budget import Budget, step_gib
from autoseg.planning.planner import Decision
from autoseg.planning.recipe import GPU_ITERATIONS, PROBABILITY, grid_of, ratio

OF_THE_DATA = ("name", "channels", "labels", "intensity", "seed")  # keys that no preset decides


def preset_plan(
    fingerprint: Fingerprint, device: DeviceName, preset: Mapping[str, Any], seed: int, source: str
) -> Plan:
    """Return the plan of a preset: all its settings, but what depends on the data.

    That is: name, channels, labels, intensities, the loss's class weights where the preset has any, whether
    cases are labelled in part, and the downsampling where it has a spacing.

    Raises:
        PlanError: If the preset does not make a valid plan; the text names `source`.
    """
    own: dict[str, Any] = {
        "name": fingerprint.name,
        "channels": [c.name for c in fingerprint.channels],
        "labels": [{"value": o.value, "name": o.name, "names": o.names or ()} for o in fingerprint.organs],
        "regions": fingerprint.regions,
        "ignored": fingerprint.ignored,
        **_region_outputs(fingerprint, preset),
        "intensity": [rules.intensity(c).model_dump(mode="json") for c in fingerprint.channels],
    }
    settings = {key: value for key, value in preset.items() if key not in OF_THE_DATA}
    loss = settings.get("loss")
    if isinstance(loss, dict):
        settings["loss"] = {**loss, "partial": bool(fingerprint.partly)}
        if loss.get("weights") is not None:
            settings["loss"]["weights"] = rules.class_weights(fingerprint)
    finer = settings.get("finer")
    if isinstance(finer, dict):  # as of a plan of the same dataset: else its labels and channels do not fit
        seen = [PROBABILITY.model_dump(mode="json")] * len(finer.get("labels", ()))
        settings["finer"] = {**finer, "seed": seed, "device": device, "intensity": [*own["intensity"], *seen]}
    tree = {"iterations": GPU_ITERATIONS, **settings, **own, "seed": seed, "device": device}
    plan = require_known(parse_plan(json.dumps(tree), source), source)
    if plan.spacing_mm is None:
        return plan
    return plan.model_copy(update={"downsampling": ratio(plan.spacing_mm, fingerprint.median_spacing_mm)})


def _region_outputs(fingerprint: Fingerprint, preset: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the outputs of regions are: as in a preset of regions, else as by default."""
    if preset.get("regions") and fingerprint.regions is not None:
        return {key: preset.get(key, default) for key, default in (("logit_scale", None), ("region_parts", False))}
    return {"logit_scale": None, "region_parts": fingerprint.regions is not None}


def preset_decision(
    fingerprint: Fingerprint, budget: Budget, preset: Mapping[str, Any], options: PlanOptions
) -> Decision:
    """Return the decision for a preset: nothing is derived, but its step is counted.

    Raises:
        PlanError: If the preset does not make a valid plan.
    """
    plan = preset_plan(fingerprint, budget.device, preset, options.seed, f"--preset {options.preset}")
    return Decision(plan=plan, grids=(grid_of(plan, fingerprint),), chosen=None, step_gib=step_gib(plan, budget))


def load_preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset, by the name of one that ships or by its file.

    Raises:
        PlanError: If there is no such preset or it is not JSON.
    """
    file = Path(name)
    try:
        source = file if file.suffix == ".json" else _folder() / f"{name}.json"
        settings = parse_json(source.read_text(encoding="utf-8-sig"), f"--preset {name}", dict)
    except FileNotFoundError as error:
        known = ", ".join(preset_names())
        raise PlanError(
            f"--preset {name}: there is no such preset or file; presets: {known}, or a plan file"
        ) from error
    except JsonError as error:
        raise PlanError(f"{error}; presets: {', '.join(preset_names())}, or a plan file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"--preset {name}: {error}; presets: {', '.join(preset_names())}, or a plan file") from error
    return settings


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets that ship."""
    return tuple(sorted(f.name.removesuffix(".json") for f in _folder().iterdir() if f.name.endswith(".json")))


def _folder() -> Traversable:
    """Return the folder of the presets: as installed, or of a checkout that is not installed."""
    try:
        return files("autoseg_plans")
    except ModuleNotFoundError:
        return Path(__file__).parents[2] / "plans"
