"""Which dataset the scores of an external evaluation are of, and whose its cases are: a note beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoseg.dataset.load import Dataset
from autoseg.errors import RunError
from autoseg.evaluation.patients import Patients
from autoseg.files import write_text
from autoseg.json_file import JsonError, read_json
from autoseg.run import ExternalFolder

DATASET, PATIENTS = "dataset", "patients"  # keys of the note


def note_source(folder: ExternalFolder, path: Path, dataset: Dataset) -> None:
    """Note which dataset a folder's scores are of, before any is made.

    Args:
        folder: Of the scores.
        path: What tells the dataset from others: the list of its cases, or its folder.
        dataset: The same, read.

    Raises:
        RunError: If it has scores of another one.
    """
    where, known = str(path.resolve()), read_source(folder)
    if known.get(DATASET, where) != where and folder.scores_file.is_file():
        raise RunError(
            f"--dataset {path}: {folder.folder} holds the scores of {known[DATASET]}; give one of the two files or "
            "folders another name, or move those scores away"
        )
    patients = {case.id: case.patient for case in dataset.cases}
    write_text(folder.source_file, json.dumps({DATASET: where, PATIENTS: patients}, indent=1, ensure_ascii=False))


def read_source(folder: ExternalFolder) -> Mapping[str, Any]:
    """Return what was noted of a folder's dataset; empty where that cannot be read, as in earlier RUNs."""
    try:
        known = read_json(folder.source_file, dict)
    except (JsonError, OSError):
        return {}
    return known if isinstance(known.get(DATASET), str) and isinstance(known.get(PATIENTS), dict) else {}


def external_patients(folder: ExternalFolder) -> Patients:
    """Return the patients of the cases of an external evaluation, as far as they were noted."""
    patients: Patients = read_source(folder).get(PATIENTS, {})
    return patients
