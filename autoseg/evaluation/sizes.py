"""Sizes: whether the Dice of an organ depends on how large it is in the patient."""

from __future__ import annotations

import math
from collections.abc import Collection

import pandas as pd
from scipy import stats

from autoseg.evaluation.compare import holm
from autoseg.evaluation.patients import Patients
from autoseg.evaluation.statistics import by_case, organs_of

FEWEST_PATIENTS = 6  # with the organ, of which each half has three
COLUMNS = (
    "Organ", "Patients", "Median (ml)", "Dice, smaller half (%)", "Dice, larger half (%)", "Gap (points)",
    "Spearman's ρ", "p", "p (Holm)",
)  # fmt: skip


def sizes(scores: pd.DataFrame, splits: Collection[str], patients: Patients) -> pd.DataFrame:
    """Return the Dice of the patients with a small and a large organ, and the rank correlation; columns `COLUMNS`.

    Args:
        scores: Long scores.
        splits: Which cases count; of those the ones that have the organ in the truth.
        patients: Case to patient: of several cases the means of volume and Dice count.
    """
    volumes, dice, rows = by_case(scores, "truth_ml", splits), by_case(scores, "dice", splits), []
    for label, organ in organs_of(scores).items():
        if label not in volumes or label not in dice:
            continue
        of_cases = pd.DataFrame({"ml": volumes[label], "dice": dice[label]}).dropna()
        of_cases = of_cases[of_cases["ml"] > 0]
        people = [patients.get(str(case), str(case)) for case in of_cases.index]
        of_patients = of_cases.groupby(people).mean()
        if len(of_patients) < FEWEST_PATIENTS or of_patients["ml"].nunique() < 2:
            continue
        middle = of_patients["ml"].median()
        small = of_patients["ml"] <= middle if (of_patients["ml"] > middle).any() else of_patients["ml"] < middle
        low, high = (100 * float(of_patients.loc[half, "dice"].mean()) for half in (small, ~small))
        rho, p = (math.nan, math.nan)
        if of_patients["dice"].nunique() > 1:
            rho, p = map(float, stats.spearmanr(of_patients["ml"], of_patients["dice"]))
        rows.append((organ, len(of_patients), float(middle), low, high, high - low, rho, p))
    corrected = holm([None if math.isnan(row[-1]) else row[-1] for row in rows])
    return pd.DataFrame([[*row, p] for row, p in zip(rows, corrected, strict=True)], columns=list(COLUMNS))
