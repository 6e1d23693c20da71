"""The Dice to expect of each organ of a prediction.

The expected Dice follows from the network's own probabilities p and its mask m: 2 Σ_m p / (Σ p + |m|), which would be
the mean Dice if they were calibrated. They are not, so a straight line, fitted on validation cases, brings them there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from autoseg.labels import LabelScheme
from autoseg.plan import PlanPart

LEAST_PROBABILITY = 0.02  # smaller ones say nothing about an organ, but there are millions of them
LEAST_POINTS = 8  # organs of validation cases, below which the line is not fitted
LEAST_SPREAD = 0.02  # of their estimates
Sums = tuple[float, float, float]  # of an organ: p in the mask, p everywhere, voxels of the mask


class Calibration(PlanPart):
    """The line from the network's own estimate to the Dice to expect."""

    slope: float = 1.0
    intercept: float = 0.0
    low: float = 0.0  # the estimates that the line was fitted on; one outside counts as the nearest of them
    high: float = 1.0
    scatter: float | None = None  # root mean square error on the validation cases; None: nothing was fitted

    def expected(self, estimate: float | None) -> float | None:
        """Return the Dice to expect (0 to 1) for an estimate; None for an organ that was not found."""
        if estimate is None:
            return None
        inside = min(self.high, max(self.low, estimate))
        return min(1.0, max(0.0, self.intercept + self.slope * inside))


class Certainty:
    """Accumulates, slab by slab, the sums that the Dice estimate of each organ needs."""

    def __init__(self, scheme: LabelScheme) -> None:
        """Begin with what the classes are."""
        self._scheme = scheme
        self._replaced: dict[int, Sums] = {}  # by class
        self._sums: Tensor = torch.zeros(())  # (3, classes), see Sums

    def add(self, probabilities: Tensor, atoms: Tensor) -> None:
        """Take slices: probabilities (classes, z, Y, X) and the atoms that they speak for, uint8 (z, Y, X)."""
        values = probabilities.permute(1, 2, 3, 0).flatten(0, 2)
        inside, voxels = self._scheme.sums_inside(values, atoms.flatten())
        everywhere = torch.where(values > LEAST_PROBABILITY, values, 0.0).sum(dim=0, dtype=torch.float64)
        self._sums = self._sums + torch.stack((inside, everywhere, voxels))

    def sums(self) -> dict[int, Sums]:
        """Return the sums of each organ, by its class."""
        inside, everywhere, voxels = self._sums.cpu()[:, list(self._scheme.organs)].tolist()
        own: dict[int, Sums] = dict(zip(self._scheme.organs, zip(inside, everywhere, voxels, strict=True), strict=True))
        return own | self._replaced

    def estimates(self) -> tuple[float | None, ...]:
        """Return each organ's estimate, 0 to 1; None for one that was not found."""
        return tuple(2 * p / (q + n) if n else None for p, q, n in self.sums().values())

    def replace(self, sums: Mapping[int, Sums]) -> None:
        """Take the sums of a second look at some classes."""
        self._replaced.update(sums)


def calibrate(estimates: Sequence[float], dices: Sequence[float]) -> Calibration:
    """Fit the line to organs of validation cases; where they are few or alike, return one that changes nothing."""
    if len(estimates) < LEAST_POINTS or np.ptp(estimates) < LEAST_SPREAD:
        return Calibration()
    slope, intercept = np.polyfit(estimates, dices, 1)
    if slope < 0:  # the estimate says nothing of the Dice here
        slope, intercept = 0.0, float(np.mean(dices))
    errors = np.polyval((slope, intercept), estimates) - np.asarray(dices)
    return Calibration(
        slope=float(slope),
        intercept=float(intercept),
        low=float(min(estimates)),
        high=float(max(estimates)),
        scatter=float(np.sqrt(np.mean(np.square(errors)))),
    )
