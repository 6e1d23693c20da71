"""Patients: which cases are of one, and intervals that resample patients, as their cases are alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from autoseg.evaluation.statistics import FEWEST, RESAMPLES, SEED, by_case

Patients = Mapping[str, str]  # case to patient; a case that is not in it is a patient of its own


def patients_of(cases: Collection[str], patients: Patients) -> list[str]:
    """Return the patients of some cases, each once, sorted.

    >>> patients_of(["a1", "a2", "b"], {"a1": "a", "a2": "a"})
    ['a', 'b']
    """
    return sorted({patients.get(case, case) for case in cases})


def total_interval(
    scores: pd.DataFrame, splits: Collection[str], patients: Patients, level: float = 0.95
) -> tuple[float, float] | None:
    """Return a confidence interval of the mean over organs of each organ's mean Dice, by resampling patients.

    Percentile bootstrap, widened for few patients as that of `statistics.mean_interval`.

    Args:
        scores: Long scores, as for `statistics.dice_table`.
        splits: Which cases to count.
        patients: Of the cases.
        level: Share of such intervals that should hold the true mean.

    Returns:
        Low and high end, 0 to 1; None of fewer than `FEWEST` patients, or where all are alike.
    """
    values = pd.DataFrame(by_case(scores, "dice", splits))
    values = values.dropna(how="all").dropna(axis=1, how="all")
    groups = [patients.get(str(case), str(case)) for case in values.index]
    sums, counts = values.groupby(groups).sum().to_numpy(), values.notna().groupby(groups).sum().to_numpy()
    if len(sums) < FEWEST:
        return None
    means = _resampled_means(sums, counts)
    if np.ptp(means) <= 1e-9:
        return None
    wider = np.sqrt(len(sums) / (len(sums) - 1)) * stats.t.ppf((1 + level) / 2, len(sums) - 1)
    low, high = np.percentile(means, [100 * stats.norm.sf(wider), 100 * stats.norm.cdf(wider)])
    return float(low), float(high)


def _resampled_means(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the mean over organs of each resample of the patients; (patients, organs) in, (resamples,) out."""
    rng = np.random.default_rng(SEED)
    times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)  # that each is drawn
    drawn, overall = times @ counts, sums.sum(axis=0) / counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = np.where(drawn > 0, (times @ sums) / drawn, overall)  # a rare organ may be in none of those drawn
    return np.asarray(means.mean(axis=1))
