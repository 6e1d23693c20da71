"""The origin of a run, in its dataset.json: the dataset, the options of `plan`, and the digest of its plan."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoseg.dataset.load import Dataset, load_dataset
from autoseg.dataset.paths import path_of
from autoseg.dataset.split import Split
from autoseg.dataset.split_file import load_splits
from autoseg.digests import digest, states_of
from autoseg.errors import RunError
from autoseg.imaging.stored import stored_digest
from autoseg.json_file import JsonError, read_json
from autoseg.run import Run

CONTENT = "content:"  # prefix of a digest of content; earlier runs noted names, sizes and times


def origin_of(path: Path, dataset: Dataset, options: dict[str, Any], run: Run) -> dict[str, Any]:
    """Return the content of RUN/dataset.json: the dataset's place, a digest of its files, and the options."""
    return {"dataset": _place(path, run), "files": _files_digest(dataset), "options": options}


def _files_digest(dataset: Dataset) -> str:
    cases = [(c.id, c.patient, c.labelled, stored_digest((*c.images, *c.label_files))) for c in dataset.cases]
    more: tuple[object, ...] = ()
    if dataset.regions is not None or dataset.ignored is not None:
        more = (dataset.regions, dataset.ignored)
    masks = [case.id for case in dataset.cases if case.is_mask]
    more += (masks,) if masks else ()
    return f"{CONTENT}{digest(dataset.channels, dataset.labels, cases, *more)}"


def has_origin(run: Run, path: Path, dataset: Dataset, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    """Return whether a run was planned for this dataset, as its files are now, with these options.

    Args:
        run: With its dataset.json.
        path: Of the dataset.
        dataset: What lies there.
        options: All that decide on a plan.
        defaults: The value of each that the user does not give; a run that notes none, as it is older than the
            option, was planned with it.
    """
    origin = read_origin(run)
    before = origin.get("options")
    if not isinstance(before, dict) or {**defaults, **before} != {**defaults, **options}:
        return False
    is_content = str(origin.get("files")).startswith(CONTENT)
    files = _files_digest(dataset) if is_content else _files_state(dataset)
    return is_of(run, path) and origin.get("files") == files


def is_of(run: Run, path: Path) -> bool:
    """Return whether a run was planned for the dataset at a place, whatever has become of its files."""
    noted = read_origin(run).get("dataset")
    if noted == _place(path, run):
        return True
    with suppress(ValueError):  # what is noted is damaged: no path
        return isinstance(noted, str) and _folder(run.folder / noted) == _folder(path)
    return False


def _folder(path: Path) -> Path:
    """Return where a dataset lies, however it is spelt: by links, by .. or by its dataset.json."""
    place = Path(os.path.realpath(path))
    return place.parent if place.name == "dataset.json" else place


def _files_state(dataset: Dataset) -> str:
    """Return the state that runs noted before there were digests: names, sizes and times of the files."""
    state = hashlib.sha256(repr((dataset.channels, dataset.labels)).encode())
    for case in dataset.cases:
        state.update(f"{case.id} {case.patient}\n".encode())
        if case.labelled is not None:
            state.update(f"labelled {case.labelled}\n".encode())
        if case.is_mask:
            state.update(b"mask\n")
        state.update(repr(states_of((*case.images, *case.label_files))).encode())
    return state.hexdigest()


def _place(path: Path, run: Run) -> str:
    """Return the dataset's path: relative to RUN if inside it, so that both can be moved, else absolute."""
    inside = path.resolve().is_relative_to(run.folder.resolve())
    return path.resolve().relative_to(run.folder.resolve()).as_posix() if inside else str(path.absolute())


def read_origin(run: Run) -> dict[str, Any]:
    """Return the content of RUN/dataset.json; empty if it cannot be read."""
    try:
        return read_json(run.dataset_file, dict)
    except (OSError, JsonError):
        return {}


def dataset_of(run: Run) -> Dataset:
    """Return the dataset that a run was planned for.

    Raises:
        RunError: If the folder is not a RUN.
        DatasetError: If the dataset is gone.
    """
    plan = run.plan()
    where = read_origin(run).get("dataset")
    if not isinstance(where, str):
        raise RunError(
            f"{run.dataset_file}: does not say where the dataset lies; run `autoseg plan DATASET {run.folder}`"
        )
    place = path_of(str(run.dataset_file), run.folder, where)
    return load_dataset(place, is_new=False, channels=plan.channels, labels=plan.labels)


def splits_of(run: Run) -> tuple[Split, ...]:
    """Read the split of a run; the dataset itself is not needed.

    Raises:
        RunError: If the folder is not a RUN.
        PlanError: If the split is missing or not valid.
    """
    run.plan()
    return load_splits(run.split_file, None)
