"""Differences between methods.

Paired by case, with the mean and its 95 % interval; invented numbers.
"""

import numpy as np

from autoseg.figures.differences import Paired, differences_figure

rng = np.random.default_rng(0)


def paired(mean: float) -> Paired:
    """Return differences of 20 cases around a mean, with the interval of a normal distribution."""
    values = rng.normal(mean, 1.5, 20)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return Paired(values=list(values), interval=(values.mean() - half, values.mean() + half))


others = {"longer training": {"liver": paired(0.2), "pancreas": paired(1.4)}}
figure = differences_figure(others, "baseline", "Difference of Dice (percentage points)", "right")
