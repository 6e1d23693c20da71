"""What counts as an outlier: far from the median, which a few bad cases cannot move."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FEWEST = 8  # cases below which nothing is an outlier
FAR = 6.0  # robust standard deviations from the median that make an outlier


def far(values: npt.ArrayLike, least: float) -> npt.NDArray[np.float64]:
    """Return how far each value lies from the median, in robust standard deviations of at least `least`.

    >>> far([1.0, 2.0, 3.0, 4.0, 100.0], 0.0).round(1).tolist()
    [-1.3, -0.7, 0.0, 0.7, 65.4]
    """
    array = np.asarray(values, dtype=np.float64)
    offset = array - np.median(array)
    return np.asarray(offset / max(1.4826 * float(np.median(np.abs(offset))), least))
