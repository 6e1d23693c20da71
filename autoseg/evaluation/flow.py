"""The flow of cases: found, left out and why, and the sides of the split, by patient and by case."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

import pandas as pd

from autoseg.dataset.split import SIDES, Split
from autoseg.evaluation.patients import Patients, names_patients, patients_of
from autoseg.words import span

COLUMNS = ("Step", "Patients", "Cases")
FOR, LEFT_OUT, USED = "For ", "Left out: ", "Used"  # how steps begin
UNUSABLE = {  # by the code of a fatal finding, as a reader of a paper understands it
    "image-missing": "the image is missing",
    "label-missing": "there is no label map",
    "image-unusable": "the image is damaged or cannot be read",
    "label-unusable": "the label map is damaged or cannot be read",
    "channels": "another number of channels than the other cases",
    "image-constant": "the image holds one value only",
    "image-is-label": "the image file is a label map",
    "shape": "image and label map differ in size",
    "geometry": "image and label map do not lie on each other",
    "label-values": "the label map has values that the dataset names no organ for",
    "label-unannotated": "nothing of the label map is annotated",
    "label-unnamed": "the label map shows organs that the dataset does not list for the case",
}
MEANING = {
    "training": "training (the network learns from them)",
    "validation": "validation (tuning: clean-up and calibration)",
    "testing": "testing (used for no choice)",
}


def flow(
    patients: Patients,
    causes: Mapping[str, str],
    excluded: Collection[str],
    splits: Sequence[Split],
    scored: Collection[str],
) -> pd.DataFrame:
    """Return the flow of cases, a row a step; columns `COLUMNS`, without patients where the dataset names none.

    Args:
        patients: Every case that was found, to its patient.
        causes: Case to the code of what the check found wrong with it, so that it cannot be used.
        excluded: Cases that the user left out.
        splits: One a fold.
        scored: Testing cases that have scores.
    """
    used = {case for split in splits for case in split.cases()}
    reasons = {case: _reason(case, causes, excluded) for case in patients if case not in used}
    rows = [_row("Found", patients, patients)]
    ordered = sorted(reasons.items(), key=lambda pair: (pair[1], pair[0]))
    for reason, cases in groupby(ordered, key=lambda pair: pair[1]):
        rows.append(_row(f"{LEFT_OUT}{reason}", [case for case, _ in cases], patients))
    rows.append(_row(USED, used, patients))
    for side in SIDES if splits else ():
        of_folds = [_row(f"{FOR}{MEANING[side]}", split.sides()[side], patients) for split in splits]
        rows.append(of_folds[0] if len(splits) == 1 else _in_each_fold(side, of_folds))
    rows.append(_row("Tested and scored", scored, patients))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table if names_patients(patients) else table.drop(columns="Patients")


def characteristics(groups: pd.DataFrame, patients: Patients, splits: Sequence[Split]) -> pd.DataFrame:
    """Return how many patients of each side are in each group of each column.

    Args:
        groups: Of `subgroups.grouped`: a row a case, a column of groups for each characteristic.
        patients: Case to patient.
        splits: One a fold; of several, all cases count as one side, as each is tested once.
    """
    sides = splits[0].sides() if len(splits) == 1 else {"used": [c for split in splits for c in split.cases()]}
    rows = []
    for column in groups:
        for group in sorted(groups[column].dropna().unique()):
            cases = set(groups.index[groups[column] == group])
            counts = [len(patients_of(cases & set(side), patients)) for side in sides.values()]
            rows.append([f"{column}: {group}", *counts])
    return pd.DataFrame(rows, columns=["Characteristic", *(side.capitalize() for side in sides)])


def _reason(case: str, causes: Mapping[str, str], excluded: Collection[str]) -> str:
    if case in causes:
        return UNUSABLE.get(causes[case], f"cannot be used ({causes[case]})")
    return "at the user's request (--exclude)" if case in excluded else "not assigned to any side of the split"


def _in_each_fold(side: str, rows: Sequence[list[str | int]]) -> list[str | int]:
    counts = [span([int(row[place]) for row in rows]) for place in (1, 2)]
    return [f"In each of {len(rows)} folds, for {MEANING[side]}", *counts]


def _row(step: str, cases: Collection[str], patients: Patients) -> list[str | int]:
    return [step, len(patients_of(cases, patients)), len(set(cases))]
