"""Model files: tensors (safetensors) together with their plan; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from autoseg.errors import ModelError
from autoseg.files import atomic_path
from autoseg.json_file import JsonError, parse_json
from autoseg.network.build import build, require_known
from autoseg.network.device import DeviceName, place
from autoseg.plan import Plan, parse_plan
from autoseg.run import Run
from autoseg.words import shortened

MODEL = "autoseg model 1"
FACTS = "autoseg"  # the one field of the header: safetensors writes several in any order


def save_tensors(file: Path, kind: str, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write tensors and text facts to one file, atomically; the same content gives the same bytes.

    Raises:
        OSError: If the disk is full; an older file stays.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = {"kind": kind, **facts}
    with atomic_path(file) as beside:
        about = described | {"sha256": _digest(whole, described)}
        try:
            save_file(whole, beside, metadata={FACTS: json.dumps(about, sort_keys=True)})
        except SafetensorError as error:  # what the system refused, as text
            if code := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
            raise


def read_facts(file: Path, kind: str) -> dict[str, str]:
    """Read only the facts of a file written by `save_tensors`; its tensors are not looked at.

    Raises:
        ModelError: If it is missing, damaged, or of another kind.
    """
    if not file.is_file():
        raise ModelError(f"{file}: there is no such file; run `autoseg train RUN` first")
    if file.suffix == ".onnx":
        raise ModelError(f"{file}: is an ONNX file, for other programs; give the RUN, or a model.autoseg")
    try:
        with safe_open(file, framework="pt") as opened:
            about = (opened.metadata() or {}).get(FACTS, "{}")
            facts: dict[str, str] = parse_json(about, "its header", dict)
        if not all(isinstance(text, str) for text in facts.values()):
            raise ValueError("its header holds other facts than texts")
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{file}: damaged or not a model file ({error}); copy it again") from error
    if facts.get("kind") != kind:
        raise ModelError(f"{file}: not an {kind} file; give a RUN or a model.autoseg written by autoseg")
    return facts


def load_tensors(file: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file written by `save_tensors`.

    Raises:
        ModelError: If it is missing, damaged, or of another kind.
    """
    facts = read_facts(file, kind)
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: damaged or not a model file ({error}); copy it again") from error
    if facts.pop("sha256", "") != _digest(tensors, facts):
        raise ModelError(f"{file}: damaged or not a model file (its checksum differs); copy it again")
    return tensors, facts


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_model(file: Path, plan: Plan, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a model of one network: weights, plan, and JSON-able facts about its training."""
    save_tensors(file, MODEL, weights, {"plan": plan.model_dump_json(), "facts": json.dumps(dict(facts))})


def save_ensemble(file: Path, plan: Plan, networks: Sequence[Mapping[str, Tensor]], facts: Mapping[str, Any]) -> None:
    """Write a model of several networks of one plan; its tensors are named after their network, as in 0.NAME."""
    weights = {f"{number}.{name}": t for number, network in enumerate(networks) for name, t in network.items()}
    about = dict(facts) | {"networks": len(networks)}
    save_tensors(file, MODEL, weights, {"plan": plan.model_dump_json(), "facts": json.dumps(about)})


def load_networks(file: Path, device: DeviceName) -> tuple[tuple[nn.Module, ...], Plan, dict[str, Any]]:
    """Return the networks of a model, ready for prediction on `device`, their plan, and the facts of their training.

    Raises:
        ModelError: If the file is missing, damaged, foreign, or its tensors do not fit its plan.
        PlanError: If its plan is not valid, or of a network that is not known.
    """
    weights, texts = load_tensors(file, MODEL)
    plan = require_known(parse_plan(texts.get("plan", ""), str(file)), str(file))
    facts = facts_of_training(file, texts)
    count = facts.get("networks")
    if count is not None and (not isinstance(count, int) or not 1 <= count <= len(weights)):
        raise ModelError(f"{file}: damaged or not a model file ({shortened(repr(count))} networks); copy it again")
    parts = [weights] if count is None else [tensors_under(weights, f"{number}.") for number in range(count)]
    networks = []
    for part in parts:
        network = build(plan)
        try:
            network.load_state_dict(part)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelError(f"{file}: its tensors do not fit its plan ({reason}); export the model again") from error
        networks.append(place(network, device).eval())
    return tuple(networks), plan, facts


def tensors_under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def facts_of_training(file: Path, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts of a model's training, from the texts of its file.

    Raises:
        ModelError: If they are no JSON object.
    """
    try:
        return parse_json(texts.get("facts", "{}"), "its facts", dict)
    except JsonError as error:
        raise ModelError(f"{file}: damaged or not a model file ({error}); copy it again") from error


def model_files(model: Path) -> tuple[Path, ...]:
    """Return the model files that MODEL means: the file itself, or every fold's of a RUN.

    Raises:
        ModelError: If there is no model.
    """
    if model.is_file():
        return (model,)
    run = Run(model)
    files = tuple(sorted(run.fold(fold).model for fold in run.folds()))  # by name: the order is part of the mean
    if not files:
        raise ModelError(f"{model}: no model here; give a model file, or a RUN after `autoseg train`")
    return files
