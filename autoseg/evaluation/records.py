"""What a run knows of each case beside its scores: patient, spacing, and what the dataset says of it."""

from __future__ import annotations

from contextlib import suppress

import pandas as pd

from autoseg.data.cache import read_case
from autoseg.dataset.load import Case
from autoseg.dataset.origin import dataset_of, splits_of
from autoseg.errors import AutosegError
from autoseg.evaluation.patients import Patients
from autoseg.imaging.scanner import scanner_of
from autoseg.run import Run

PATIENT, EDGE, SCANNER = "patient", "longest voxel edge (mm)", "scanner"
EDGE_DIGITS = 6  # headers have single precision; the digits beyond it are none


def case_records(run: Run) -> pd.DataFrame:
    """Return a row a case of the dataset, or where that is gone of the cache, by case id.

    Columns: `PATIENT` (the case itself where the dataset names none), `EDGE` (of a voxel of the image; NaN
    where it is not cached), `SCANNER` where images are DICOM series that name one, and those that the dataset has
    beside the files. Without the dataset a RUN knows only what is cached; with it, of the cases that were taken out
    since, those alone that the split still has.
    """
    cases = _cases(run)
    splits = splits_of(run) if cases and run.split_file.is_file() else ()
    in_splits = {name for split in splits for name in split.cases()}
    ids = sorted({*cases, *in_splits} if cases else (file.stem for file in run.cache.glob("*.json")))
    rows = {}
    for name in ids:
        cached = read_case(run.cache, name)
        rows[name] = {
            PATIENT: cases[name].patient if name in cases else cached.patient if cached else name,
            EDGE: float(f"{max(cached.grid.spacing_mm):.{EDGE_DIGITS}g}") if cached else float("nan"),
            **(_said_of(cases[name]) if name in cases else {}),
        }
    return pd.DataFrame.from_dict(rows, orient="index", columns=None if rows else [PATIENT, EDGE])


def run_patients(run: Run) -> Patients:
    """Return the patient of each case of a run's dataset; where that is gone, of the cases that are cached."""
    if cases := _cases(run):
        return {name: case.patient for name, case in cases.items()}
    cached = (read_case(run.cache, file.stem) for file in run.cache.glob("*.json"))
    return {case.id: case.patient for case in cached if case is not None}


def _cases(run: Run) -> dict[str, Case]:
    """Return the cases of a run's dataset by id; none where it cannot be read."""
    with suppress(AutosegError, OSError):
        return {case.id: case for case in dataset_of(run).cases}
    return {}


def _said_of(case: Case) -> dict[str, str]:
    scanner = scanner_of(case.images[0])
    return {**({SCANNER: scanner} if scanner else {}), **case.about}  # the dataset's own column comes first
