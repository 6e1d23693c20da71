"""Split files: written by `plan`, or by a user as JSON, as CSV or in nnU-Net's form, and checked when read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.dataset.split import SIDES, Split
from autoseg.errors import PlanError
from autoseg.json_file import JsonError, parse_json
from autoseg.sheet import SheetError, read_sheet
from autoseg.words import shortened

MOST_DIGITS = 6  # of the number of a fold
NNUNET = {"train": "training", "val": "testing"}  # of splits_final.json: nnU-Net reports its scores on val


def splits_text(splits: Sequence[Split]) -> str:
    """Return splits as a JSON list of folds, as `load_splits` reads it."""
    return json.dumps([split.sides() for split in splits], indent=1) + "\n"


def load_splits(
    file: Path, cases: Collection[str] | None, patients: Mapping[str, str] | None = None
) -> tuple[Split, ...]:
    """Read a split file, which a user may have written.

    JSON: [{"training": […], "validation": […], "testing": […]}, …], an object a fold, or nnU-Net's splits_final.json,
    whose "val" tests and nothing validates. CSV: the columns case, split (training, validation or testing) and, with
    several folds, fold (from 0).

    Args:
        file: CSV by its suffix, anything else is JSON. A fold need not have validation and testing.
        cases: Ids of the dataset; the file need not use all of them. None: any id will do.
        patients: Case id to patient; cases of one patient must be on one side of a fold. None: not checked.

    Raises:
        PlanError: If it is missing or broken, names an unknown case, a case twice in a fold, a patient on two sides,
            or trains on nothing.
    """
    try:
        folds = _csv_folds(file) if file.suffix.lower() == ".csv" else _json_folds(file)
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{file}: no readable split ({error}); run `autoseg plan` to make one") from error
    except SheetError as error:
        raise PlanError(str(error)) from error
    splits = tuple(_parse_fold(f"{file}, fold {number}", fold, cases) for number, fold in enumerate(folds))
    for number, split in enumerate(splits):
        _require_patients_apart(f"{file}, fold {number}", split, patients or {})
    return splits


def _json_folds(file: Path) -> list[Any]:
    """Return the folds of a JSON file as they stand there."""
    example = 'a list of folds, as in [{"training": ["a"], "testing": ["b"]}]'
    try:
        folds = parse_json(file.read_text(encoding="utf-8-sig"), str(file), list)
    except JsonError as error:
        raise PlanError(f"{error}; a split is {example}") from error
    if not folds:
        raise PlanError(f"{file}: must hold {example}")
    return folds


def _csv_folds(file: Path) -> list[dict[str, list[str]]]:
    """Return the folds of a CSV file, each as side to case ids."""
    folds: dict[int, dict[str, list[str]]] = {}
    for line, texts in read_sheet(file).rows.items():
        case, side, fold = texts.get("case"), texts.get("split", ""), texts.get("fold") or "0"
        if not case or side not in SIDES or not fold.isdecimal() or len(fold) > MOST_DIGITS:
            cells = shortened(", ".join(f"{key} {value!r}" for key, value in texts.items()), 200)
            raise PlanError(
                f"{file}, line {line}: needs the columns case, split ({', '.join(SIDES)}) and perhaps fold "
                f"(a number), found {cells}; correct that line"
            )
        folds.setdefault(int(fold), {}).setdefault(side, []).append(case)
    if not folds or max(folds) >= len(folds):
        raise PlanError(f"{file}: has the folds {sorted(folds)}; list the cases, and number the folds from 0")
    return [folds[number] for number in sorted(folds)]


def _parse_fold(where: str, fold: Any, cases: Collection[str] | None) -> Split:
    """Return a fold as a split.

    Raises:
        PlanError: If it is none, or names unknown or repeated cases; the text names `where`.
    """
    if isinstance(fold, dict) and set(fold) <= set(NNUNET):
        fold = {NNUNET[key]: ids for key, ids in fold.items()}
    if not isinstance(fold, dict) or not set(fold) <= set(SIDES):
        content = (
            f"the keys {shortened(', '.join(fold)).replace(chr(10), ' ')}"
            if isinstance(fold, dict)
            else type(fold).__name__
        )
        raise PlanError(f"{where}: must be an object with the lists {', '.join(SIDES)}, found {content}")
    names = {side: fold.get(side, []) for side in SIDES}
    for side, ids in names.items():
        if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
            raise PlanError(f"{where}: {side} must be a list of case ids")
    counts = Counter(name for ids in names.values() for name in ids)
    unknown = sorted(set(counts) - set(cases)) if cases is not None else []
    if unknown:
        raise PlanError(f"{where}: the dataset has no case {', '.join(unknown[:5])}; correct the ids")
    repeated = sorted(name for name, count in counts.items() if count > 1)
    if repeated:
        raise PlanError(f"{where}: {', '.join(repeated[:5])} occurs twice; a case is on one side of a fold, once")
    if not names["training"]:
        raise PlanError(f"{where}: training is empty; name the cases to train on")
    return Split(**{side: tuple(ids) for side, ids in names.items()})


def _require_patients_apart(where: str, split: Split, patients: Mapping[str, str]) -> None:
    """Raise PlanError if a patient has cases on two sides of a fold."""
    first_of: dict[str, tuple[str, str]] = {}
    for side, cases in split.sides().items():
        for case in cases:
            patient = patients.get(case, case)
            first_case, first_side = first_of.setdefault(patient, (case, side))
            if first_side != side:
                raise PlanError(
                    f"{where}: patient {patient} is on two sides, {first_case} in {first_side} and {case} in {side}; "
                    "put all cases of a patient on one side"
                )
