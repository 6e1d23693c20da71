"""Power: the smallest difference between two methods that so many cases could have shown."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd
from scipy import optimize, stats

from autoseg.evaluation.statistics import by_case, organs_of

ALPHA, POWER = 0.05, 0.8
COLUMNS = ("Organ", "N", "SD of Dice (points)", "Smallest difference (points)")
ROUNDING = 1e-6  # points, below which all Dice are the same


def smallest_difference(count: int, power: float = POWER, alpha: float = ALPHA) -> float | None:
    """Return the mean difference that a paired t-test shows with a power, in standard deviations of the differences.

    Args:
        count: Pairs.
        power: Probability that the test shows it.
        alpha: Two-sided.

    Returns:
        None for fewer than three pairs.

    >>> round(smallest_difference(34), 2), round(smallest_difference(15), 2)
    (0.5, 0.78)
    """
    if count < 3:
        return None
    free, critical = count - 1, float(stats.t.ppf(1 - alpha / 2, count - 1))

    def lacking(effect: float) -> float:
        return float(stats.nct.sf(critical, free, effect * count**0.5)) - power  # the other tail adds nothing here

    high = 0.1
    while lacking(high) < 0:
        high *= 2
    return float(optimize.brentq(lacking, 0.0, high))


def detectable(scores: pd.DataFrame, splits: Collection[str]) -> pd.DataFrame:
    """Return the smallest difference of Dice that the cases of some splits could have shown; columns `COLUMNS`.

    The differences to another method are taken to scatter as the Dice itself does, as those of two methods do whose
    Dice are correlated by 0.5; the closer they go together, the smaller a difference is shown. An organ that has the
    same Dice in all cases, as one that is missed in all, has no row: it tells nothing of the scatter.
    """
    rows = []
    dice = by_case(scores, "dice", splits)
    for label, organ in organs_of(scores).items():
        values = 100 * dice[label].dropna()
        effect, spread = smallest_difference(len(values)), values.std(ddof=1)
        if effect is not None and spread > ROUNDING:
            rows.append([organ, len(values), spread, effect * spread])
    return pd.DataFrame(rows, columns=list(COLUMNS))
