"""Model files: tensors (safetensors) together with their plan; nothing is ever unpickled."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor, nn

from autoseg.errors import DamagedModelError, ModelError
from autoseg.files import atomic_path
from autoseg.network.build import build, require_known
from autoseg.network.device import DeviceName, place
from autoseg.plan import Plan, parse_plan
from autoseg.run import Run
from autoseg.words import is_text, shortened

MODEL = "autoseg model 1"
MOST_NETWORKS = 1000  # of an ensemble
SECOND = "second."  # before the names of the tensors of a second stage
Loaded = tuple[tuple[nn.Module, ...], Plan, dict[str, Any]]  # networks of a stage, their plan, facts of the training
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
        metadata = {FACTS: json.dumps(about, sort_keys=True)}
        if not is_text(str(beside)):  # which safetensors takes for no path
            beside.write_bytes(save(whole, metadata))
            return
        try:
            save_file(whole, beside, metadata)
        except SafetensorError as error:  # what the system refused, as text
            if code := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
            raise


def read_facts(file: Path, kind: str) -> dict[str, str]:
    """Read only the facts of a file written by `save_tensors`; its tensors are not looked at.

    Raises:
        DamagedModelError: If it is damaged.
        ModelError: If it is missing, or of another kind.
    """
    if not file.is_file():
        raise ModelError(f"{file}: there is no such file; run `autoseg train RUN` first")
    if file.suffix == ".onnx":
        raise ModelError(f"{file}: is an ONNX file, for other programs; give the RUN, or a model.autoseg")
    with _opened(file) as content:
        facts = _texts(content.metadata.get(FACTS, "{}"))
    if facts is None:
        raise DamagedModelError(f"{file}: damaged or not a model file (its header holds no facts); copy it again")
    if facts.get("kind") != kind:
        raise ModelError(f"{file}: not an {kind} file; give a RUN or a model.autoseg written by autoseg")
    return facts


def load_tensors(file: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file written by `save_tensors`.

    Raises:
        DamagedModelError: If it is damaged.
        ModelError: If it is missing, or of another kind.
    """
    facts = read_facts(file, kind)
    with _opened(file) as content:
        tensors = content.tensors()
        if facts.pop("sha256", "") != _digest(tensors, facts):
            raise DamagedModelError(f"{file}: damaged or not a model file (its checksum differs); copy it again")
    return tensors, facts


@dataclass(frozen=True)
class _Content:
    """What a file of tensors holds."""

    metadata: dict[str, str]
    tensors: Callable[[], dict[str, Tensor]]


@contextmanager
def _opened(file: Path) -> Iterator[_Content]:
    """Open a file of tensors by memory map, or whole: some network mounts have none, and some paths are not UTF-8.

    Raises:
        DamagedModelError: If it cannot be read; the text says why.
    """
    try:
        if not is_text(str(file)):
            yield _read_whole(file)
            return
        try:
            mapped = safe_open(file, framework="pt")
        except (SafetensorError, OSError) as error:
            if not _is_refused_map(error):
                raise
            yield _read_whole(file)
            return
        with mapped as opened:
            names = opened.keys()
            yield _Content(opened.metadata() or {}, lambda: {name: opened.get_tensor(name) for name in names})
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DamagedModelError(
            f"{file}: damaged or not a model file ({shortened(error, 200)}); copy it again"
        ) from error


def _is_refused_map(error: Exception) -> bool:
    code = re.search(r"\(os error (\d+)\)", str(error))
    return code is not None and int(code[1]) in (errno.ENODEV, errno.EINVAL, errno.EACCES, errno.EPERM)


def _read_whole(file: Path) -> _Content:
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return _Content(dict(header.get("__metadata__", {})), lambda: load(data))


def _texts(text: str) -> dict[str, str] | None:
    """Return a JSON object of texts; None where it is something else."""
    try:
        return TypeAdapter(dict[str, str]).validate_json(text)
    except ValidationError:
        return None


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_model(file: Path, plan: Plan, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a model of one network: weights, plan, and JSON-able facts about its training."""
    save_tensors(file, MODEL, weights, {"plan": plan.model_dump_json(), "facts": json.dumps(dict(facts))})


def save_ensemble(
    file: Path,
    plan: Plan,
    networks: Sequence[Mapping[str, Tensor]],
    facts: Mapping[str, Any],
    second: Sequence[Mapping[str, Tensor]] = (),
) -> None:
    """Write a model of several networks of one plan; its tensors are named after their network, as in 0.NAME.

    Those of a second stage, whose plan is `plan.finer`, are named as in second.0.NAME.
    """
    numbered = [(f"{n}.", network) for n, network in enumerate(networks)]
    numbered += [(f"{SECOND}{n}.", network) for n, network in enumerate(second)]
    weights = {prefix + name: tensor for prefix, network in numbered for name, tensor in network.items()}
    about = dict(facts) | {"networks": len(networks)} | ({"second_networks": len(second)} if second else {})
    save_tensors(file, MODEL, weights, {"plan": plan.model_dump_json(), "facts": json.dumps(about)})


def load_networks(file: Path, device: DeviceName) -> Loaded:
    """Return the networks of a model's first stage, their plan, and the facts of their training; see `load_stages`."""
    return load_stages(file, device)[0]


def load_stages(file: Path, device: DeviceName) -> tuple[Loaded, ...]:
    """Return the networks of each stage of a model, ready for prediction on `device`, their plan, and their facts.

    An exported file may hold two stages; the file of a fold holds one.

    Raises:
        ModelError: If the file is missing, damaged, foreign, or its tensors do not fit its plan.
        PlanError: If its plan is not valid, or of a network that is not known.
    """
    weights, texts = load_tensors(file, MODEL)
    plan = require_known(parse_plan(texts.get("plan", ""), str(file)), str(file))
    facts = parse_facts(texts, file)
    held = (("", "networks"), (SECOND, "second_networks"))[: len(plan.stages)]
    parts = [
        (stage, _parts(weights, prefix, facts.get(key))) for stage, (prefix, key) in zip(plan.stages, held, strict=True)
    ]
    for stage, of_stage in parts:
        for part in of_stage:
            _require_fit(file, stage, part)
    return tuple((_networks(stage, of_stage, device), stage, facts) for stage, of_stage in parts)


def _parts(weights: Mapping[str, Tensor], prefix: str, count: int | None) -> list[Mapping[str, Tensor]]:
    """Return the tensors of each network of a stage; one whose tensors have no number where their count is not told."""
    if count is None:
        return [tensors_under(weights, prefix)]
    return [tensors_under(weights, f"{prefix}{number}.") for number in range(count)]


def _networks(plan: Plan, parts: Sequence[Mapping[str, Tensor]], device: DeviceName) -> tuple[nn.Module, ...]:
    networks = []
    for part in parts:
        network = build(plan)
        network.load_state_dict(part)
        networks.append(place(network, device).eval())
    return tuple(networks)


def _require_fit(file: Path, plan: Plan, tensors: Mapping[str, Tensor]) -> None:
    """Hold tensors against those of the plan's network before that takes memory: a plan may ask for any width."""
    try:
        with torch.device("meta"):
            build(plan).load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = shortened(str(error).splitlines()[-1], 200)
        raise ModelError(f"{file}: its tensors do not fit its plan ({reason}); export the model again") from error


class TrainingFacts(BaseModel):
    """What a model file says beside its plan, as far as it is known here; more may stand in it."""

    model_config = ConfigDict(extra="allow", strict=True)
    networks: int | None = Field(default=None, ge=1, le=MOST_NETWORKS)  # None: one, whose tensors have no number
    second_networks: int | None = Field(default=None, ge=1, le=MOST_NETWORKS)  # of a second stage in the same file
    trained_on: list[str] = []
    stages: int = Field(default=1, ge=1)  # of the plan that the file is the first stage of
    first_stage: str = ""  # of a second stage: digest of the weights of the first, behind which it was trained
    aftercare: dict[str, Any] = {}
    card: str = ""


def weights_digest(file: Path) -> str:
    """Return a digest of a model's weights alone; errors as of `load_tensors`."""
    return _digest(load_tensors(file, MODEL)[0], {})


def parse_facts(texts: Mapping[str, str], file: Path) -> dict[str, Any]:
    """Return what a model file says beside its plan: those of `TrainingFacts` that it has, and more.

    Args:
        texts: From `read_facts` or `load_tensors`.
        file: For the message.

    Raises:
        ModelError: If it is not of that form.
    """
    try:
        return TrainingFacts.model_validate_json(texts.get("facts", "{}")).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"])) or "its facts"
        raise ModelError(f"{file}: not a sound model file ({what}: {first['msg']}); export the model again") from error


def tensors_under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


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


def second_files(run: Run, folds: Sequence[int]) -> tuple[Path, ...]:
    """Return the model files of the second stage of some folds of a RUN, ordered as the first stage's; none: no such.

    Raises:
        ModelError: If one of them is not trained yet, or was trained behind another first stage than there is now.
    """
    if not run.plan_file.is_file() or run.plan().finer is None:
        return ()
    for fold in folds:
        first, file = run.fold(fold).model, run.stage(1).fold(fold).model
        if not file.is_file():
            raise ModelError(f"{file}: the second stage is not trained yet; go on with `autoseg train {run.folder}`")
        before = parse_facts(read_facts(file, MODEL), file).get("first_stage")
        if before and before != weights_digest(first):
            raise ModelError(
                f"{file}: was trained behind another first stage than {first}; train it anew with `autoseg train "
                f"{run.folder}`"
            )
    return tuple(sorted(run.stage(1).fold(fold).model for fold in folds))
