"""Other scores beside a run's own: those of two readers on the same cases, those of another dataset, of other seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from autoseg.evaluation.intervals import case_interval
from autoseg.evaluation.patients import NO_PATIENTS, Patients
from autoseg.evaluation.statistics import OVER_ORGANS, TOTAL, by_case, dice_table, organs_of
from autoseg.labels import organ_key

OBSERVERS = ("Organ", "N", "Model Dice (%)", "Observers' Dice (%)", "Model − observers (points)", "95 % CI")
EXTERNAL = ("Organ", "Cases of", "N", "Dice (%)", "SD", "95 % CI", "Median HD95 (mm)")
SEEDS = ("Organ", "Seeds", "Mean Dice (%)", "SD over seeds", "Lowest", "Highest")


def observers(
    scores: pd.DataFrame, readers: pd.DataFrame, splits: Collection[str], patients: Patients = NO_PATIENTS
) -> pd.DataFrame:
    """Return the model's Dice beside that of two readers, over the cases that both have; columns `OBSERVERS`.

    Args:
        scores: Of the run.
        readers: Of one reader's masks against the other's, as `score` writes them; organs are matched by name.
        splits: Which cases of the run count.
        patients: Of the run's cases, who are resampled for the interval.
    """
    own, names = by_case(scores, "dice", splits), {organ_key(name): v for v, name in organs_of(readers).items()}
    other = by_case(readers, "dice", set(readers["split"]))
    rows = []
    for label, organ in organs_of(scores).items():
        theirs = other[names.get(organ_key(organ), -1)]
        pair = pd.DataFrame({"own": own[label], "other": theirs}, dtype=float).dropna()
        if len(pair):
            differences = 100 * (pair["own"] - pair["other"])
            means = 100 * pair.mean()
            interval = _interval(differences, patients)
            rows.append([organ, len(pair), means["own"], means["other"], differences.mean(), interval])
    return pd.DataFrame(rows, columns=list(OBSERVERS))


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The cases of a dataset with their scores."""

    scores: pd.DataFrame  # long
    patients: Patients = field(default_factory=dict)  # of its cases


def external(own: Scored, others: Mapping[str, Scored], splits: Collection[str]) -> pd.DataFrame:
    """Return the Dice of the run's own testing cases beside that of other datasets; columns `EXTERNAL`."""
    rows = []
    values = {
        name: (source, by_case(source.scores, "dice", splits), by_case(source.scores, "hd95_mm", splits))
        for name, source in {"this run": own, **others}.items()
    }
    for label, organ in organs_of(own.scores).items():
        for name, (source, dices, distances) in values.items():
            dice, hd95 = 100 * dices[label].dropna(), distances[label].dropna()
            if len(dice):
                numbers = (len(dice), dice.mean(), dice.std(ddof=1), _interval(dice, source.patients), hd95.median())
                rows.append([organ, name, *numbers])
    return pd.DataFrame(rows if others else [], columns=list(EXTERNAL))


def seeds(every: Sequence[pd.DataFrame], splits: Collection[str]) -> pd.DataFrame:
    """Return the mean Dice over several trainings of one plan and split, and its spread; columns `SEEDS`.

    Args:
        every: Long scores, one a seed.
        splits: Which cases count.
    """
    if len(every) < 2:
        return pd.DataFrame(columns=list(SEEDS))
    means = [dice_table(frame, splits).set_index("Organ")["Avg."] for frame in every]
    rows = []
    for organ in means[0].index:
        values = np.array([of_seed.get(organ, np.nan) for of_seed in means], dtype=float)
        if np.isfinite(values).all():
            name = OVER_ORGANS if organ == TOTAL else str(organ)
            rows.append([name, len(values), values.mean(), values.std(ddof=1), values.min(), values.max()])
    return pd.DataFrame(rows if len(rows) != 1 or rows[0][0] != OVER_ORGANS else [], columns=list(SEEDS))


def _interval(values: pd.Series[float], patients: Patients) -> str:
    interval = case_interval(values, patients)
    return "" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}".replace("-", "−")
