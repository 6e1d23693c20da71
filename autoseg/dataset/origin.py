"""The origin of a run, in its dataset.json: the dataset, the options of `plan`, and the digest of its plan."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from autoseg.dataset.load import Dataset, load_dataset
from autoseg.dataset.split import Split
from autoseg.dataset.split_file import load_splits
from autoseg.digests import digest, files_digest, states_of
from autoseg.errors import RunError
from autoseg.json_file import JsonError, read_json
from autoseg.run import Run

CONTENT = "content:"  # prefix of a digest of content; earlier runs noted names, sizes and times


def origin_of(path: Path, dataset: Dataset, options: dict[str, Any], run: Run) -> dict[str, Any]:
    """Return the content of RUN/dataset.json: the dataset's place, a digest of its files, and the options."""
    cases = [(c.id, c.patient, c.labelled, files_digest((*c.images, c.label))) for c in dataset.cases]
    return {
        "dataset": _place(path, run),
        "files": f"{CONTENT}{digest(dataset.channels, dataset.labels, cases)}",
        "options": options,
    }


def has_origin(run: Run, path: Path, dataset: Dataset, options: dict[str, Any]) -> bool:
    """Return whether a run was planned for this dataset, as its files are now, with these options."""
    origin = read_origin(run)
    if str(origin.get("files")).startswith(CONTENT):
        now = origin_of(path, dataset, options, run)
    else:
        now = {"dataset": _place(path, run), "files": _files_state(dataset), "options": options}
    return all(origin.get(name) == value for name, value in now.items())


def _files_state(dataset: Dataset) -> str:
    """Return the state that runs noted before there were digests: names, sizes and times of the files."""
    state = hashlib.sha256(repr((dataset.channels, dataset.labels)).encode())
    for case in dataset.cases:
        state.update(f"{case.id} {case.patient}\n".encode())
        if case.labelled is not None:
            state.update(f"labelled {case.labelled}\n".encode())
        state.update(repr(states_of((*case.images, case.label))).encode())
    return state.hexdigest()


def _place(path: Path, run: Run) -> str:
    """Return the dataset's path: relative to RUN if inside it, so that both can be moved, else absolute."""
    inside = path.resolve().is_relative_to(run.folder.resolve())
    return str(path.resolve().relative_to(run.folder.resolve())) if inside else str(path.absolute())


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
    run.plan()
    where = read_origin(run).get("dataset")
    if not isinstance(where, str):
        raise RunError(
            f"{run.dataset_file}: does not say where the dataset lies; run `autoseg plan DATASET {run.folder}`"
        )
    return load_dataset(run.folder / where)


def splits_of(run: Run) -> tuple[Split, ...]:
    """Read the split of a run; the dataset itself is not needed.

    Raises:
        RunError: If the folder is not a RUN.
        PlanError: If the split is missing or not valid.
    """
    run.plan()
    return load_splits(run.split_file, None)
