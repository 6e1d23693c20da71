"""How sure a mean over cases is: bootstrap confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

FEWEST = 5  # no range of 4 random cases holds the middle of all more often than 87.5 % of the time
RESAMPLES = 9999
SEED = 0


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Return a confidence interval of the mean over cases, by resampling the cases.

    Percentile bootstrap, widened for few cases as a t-interval is. Without that it holds the true mean of 5 cases
    80 % of the time instead of 95. BCa, widened alike, did no better on differences of two methods and can be
    undefined. The seed is fixed: the order of the values does not matter, and values of the other sign give the same
    interval of the other sign.

    Args:
        values: One a case; NaN (undefined) is left out.
        level: Share of such intervals that should hold the true mean.

    Returns:
        Low and high end; None where it says nothing: fewer than `FEWEST` values, or all equal.

    Source: Hesterberg 2015, What Teachers Should Know About the Bootstrap, expanded percentile interval.

    >>> low, high = mean_interval([0.90, 0.91, 0.92, 0.93, 0.94])
    >>> round(low, 2), round(high, 2)
    (0.9, 0.94)
    """
    numbers = np.asarray(values, dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    count = len(numbers)
    if count < FEWEST or np.ptp(numbers) <= 1e-9 * np.abs(numbers).max():  # equal but for rounding
        return None
    far = np.abs(numbers - math.fsum(numbers) / count)  # an order that is the same after a change of sign
    numbers = numbers[np.lexsort((numbers, far))]
    wider = np.sqrt(count / (count - 1)) * stats.t.ppf((1 + level) / 2, count - 1)
    found = stats.bootstrap(
        (numbers,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // count),
        vectorized=True,
        confidence_level=1 - 2 * stats.norm.sf(wider),
        method="percentile",
        random_state=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)
