"""The summary of a report: how well the model does on patients it has not seen, in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from autoseg.evaluation.intervals import FEWEST, patient_intervals
from autoseg.evaluation.patients import NO_PATIENTS, Patients, names_patients, patients_of
from autoseg.evaluation.statistics import TABLES, TOTAL, Table, by_case, dice_table, folds_of, organs_of, total_interval
from autoseg.words import counted, in_words

MOST_NAMED = 8  # organs in a sentence


def summary_of(scores: pd.DataFrame, patients: Mapping[str, str] = NO_PATIENTS) -> tuple[str, ...]:
    """Return the result as paragraphs of a sentence or two, testing cases first.

    Args:
        scores: Long scores, as for `statistics.dice_table`.
        patients: Case to patient; a case that is not in it is a patient of its own.
    """
    cases = {t.which: list(scores.loc[scores["split"].isin(t.splits), "case"].unique()) for t in TABLES}
    if not any(cases.values()):
        return ("No case is scored yet: the training may still be running, or the run was not evaluated.",)
    texts = {t.which: _of_set(scores, t, cases[t.which], patients) for t in TABLES if cases[t.which]}
    unknown = "No testing case is scored, so how the model does on patients it has not seen is not known."
    return (texts.pop("testing", unknown), *texts.values())


def _of_set(scores: pd.DataFrame, which: Table, cases: list[str], patients: Patients) -> str:
    table = dice_table(scores, which.splits)
    organs = table[(table["Organ"] != TOTAL) & table["Avg."].notna()]
    number = len(patients_of(cases, patients))
    unit = "patient" if names_patients(patients) else "case"
    folds = folds_of(scores, which.splits)
    people = (
        _people(which, len(cases), number, unit) if folds < 2 else _people_of_folds(which, cases, number, unit, folds)
    )
    if organs.empty:
        return f"None of the organs is in {people}, so there is no Dice."
    ranked = organs.sort_values("Avg.")
    best, worst = ranked.iloc[-1], ranked.iloc[0]
    of = f"of {best['Organ']}" if len(organs) == 1 else f"over {len(organs)} organs"
    text = f"In {people}, the mean Dice {of} is {organs['Avg.'].mean():.1f} %"
    if which.which == "testing":
        text += _certainty(total_interval(scores, which.splits, patients), number, unit)
    text += "."
    if len(organs) > 1:
        text += (
            f" It is highest for {best['Organ']} ({best['Avg.']:.1f} %), "
            f"lowest for {worst['Organ']} ({worst['Avg.']:.1f} %)."
        )
    if which.which == "testing":
        text += _volumes(scores, which, patients)
    if organs["Missed"].isna().any():
        return text
    rows = [row for _, row in organs.iterrows() if row["Missed"]]
    missed = [f"{row['Organ']} in {row['Missed']:.0f} of {row['N']:.0f}" for row in rows]
    return text + (
        f" Missed altogether, without a voxel in common: {_listed(missed)}."
        if missed
        else f" No organ was missed altogether (0 of {organs['N'].sum():.0f} without a voxel in common)."
    )


def _volumes(scores: pd.DataFrame, which: Table, patients: Patients) -> str:
    """Return which organs are drawn too large or too small: those whose interval of the mean difference excludes 0."""
    differences, names = by_case(scores, "volume_difference_ml", which.splits), organs_of(scores)
    true = by_case(scores, "truth_ml", which.splits)
    ends = patient_intervals(pd.DataFrame(differences, dtype=float), patients)
    sides: dict[str, list[str]] = {"large": [], "small": []}
    for (label, values), (low, high) in zip(differences.items(), ends, strict=True):
        if low > 0 or high < 0:
            truth = true[label].reindex(values.index).mean()
            digits = 2 if abs(values.mean()) < 10 else 0
            numbers = " to ".join(f"{end:+.{digits}f}".replace("-", "−") for end in (low, high))
            share = f"{100 * abs(values.mean()) / truth:.0f} %, " if truth > 0 else ""
            text = f"{names[label]} by {share}{abs(values.mean()):.{digits}f} ml (95 % CI {numbers})"
            sides["large" if low > 0 else "small"].append(text)
    shown = [f"too {side}: {_listed(organs)}" for side, organs in sides.items() if organs]
    return f" On average drawn {'; '.join(shown)}." if shown else ""


def _listed(organs: Sequence[str]) -> str:
    """Return organs in a row, of very many the first ones."""
    more = [f"and {len(organs) - MOST_NAMED} more organs"] if len(organs) > MOST_NAMED else []
    return ", ".join([*organs[:MOST_NAMED], *more])


def _people(which: Table, cases: int, patients: int, unit: str) -> str:
    if which.which == "training":
        return f"{counted(cases, 'training or validation case')}, with which the model was made"
    if cases == patients:
        return f"{in_words(patients, unit)} that the model has not seen"
    return f"{in_words(patients, 'patient')} that the model has not seen ({counted(cases, 'testing case')})"


def _people_of_folds(which: Table, cases: Sequence[str], patients: int, unit: str, folds: int) -> str:
    if which.which == "training":
        return f"{counted(len(cases), 'case')}, each with its mean over the networks that were made with it"
    scans = "" if len(cases) == patients else f" ({counted(len(cases), 'testing case')})"
    networks = in_words(folds, "network")
    return f"{in_words(patients, unit)}{scans}, each predicted by the one of {networks} that had not seen it"


def _certainty(interval: tuple[float, float] | None, patients: int, unit: str) -> str:
    if interval is not None:
        return f" (95 % confidence interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f} %)"
    if patients < FEWEST:
        return f"; {in_words(patients, unit)} {'is' if patients == 1 else 'are'} too few for a confidence interval"
    return ""
