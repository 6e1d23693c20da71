"""How far a mask can be believed: the Dice to expect of each organ, and what is unlike the training.

The expected Dice follows from the network's own probabilities p and its mask m: 2 Σ_m p / (Σ p + |m|), which would be
the mean Dice if they were calibrated. They are not, so a straight line, fitted on validation cases, brings them there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoseg.dataset.fingerprint import LEAST_CASES, Bounds, Fingerprint, OrganFingerprint, middle_offsets_mm
from autoseg.imaging.grid import Grid, Triple
from autoseg.plan import PlanPart

LEAST_PROBABILITY = 0.02  # below it a voxel says nothing of an organ, but there are millions of them
LEAST_POINTS = 8  # organs of validation cases, below which the line is not fitted
LEAST_SPREAD = 0.02  # of their estimates
OUTSIDE = 1.5  # times beyond what training saw that a spacing may lie
SAMPLED = 64  # voxels looked at along each axis
ALIKE = 1.05  # times, in extents: headers round
PLACE_MM = 5.0  # that an organ may lie beyond, whatever the training's range
HU_AIR, HU_BODY = -300.0, 100.0  # a CT has voxels above the second, and below the first where the training had air
LITTLE_AIR = 0.05  # share of an image's voxels


class Calibration(PlanPart):
    """The line from the network's own estimate to the Dice to expect."""

    slope: float = 1.0
    intercept: float = 0.0
    low: float = 0.0  # the estimates that the line was fitted on; one outside is taken as the nearest of them
    high: float = 1.0
    scatter: float | None = None  # root mean square error on the validation cases; None: nothing was fitted

    def expected(self, estimate: float | None) -> float | None:
        """Return the Dice to expect (0 to 1) for an estimate; None for an organ that was not found."""
        if estimate is None:
            return None
        inside = min(self.high, max(self.low, estimate))
        return min(1.0, max(0.0, self.intercept + self.slope * inside))


class Certainty:
    """Adds up, slab by slab, what the estimate of each organ needs."""

    def __init__(self, organs: Sequence[int]) -> None:
        """Begin with the classes of the organs."""
        self._organs = list(organs)
        self._sums: Tensor = torch.zeros(())  # p in the mask, p everywhere, voxels of the mask: (3, classes)

    def add(self, probabilities: Tensor, winner: Tensor) -> None:
        """Take slices: probabilities (classes, z, Y, X) and the most probable classes (z, Y, X)."""
        values = probabilities.permute(1, 2, 3, 0).flatten(0, 2)
        classes = values.shape[1]
        flat = winner.flatten().long()
        best = values.gather(1, flat[:, None])[:, 0].double()
        inside = torch.bincount(flat, weights=best, minlength=classes)
        everywhere = torch.where(values > LEAST_PROBABILITY, values, 0.0).sum(dim=0, dtype=torch.float64)
        self._sums = self._sums + torch.stack((inside, everywhere, torch.bincount(flat, minlength=classes).double()))

    def estimates(self) -> tuple[float | None, ...]:
        """Return each organ's estimate, 0 to 1; None for one that was not found."""
        inside, everywhere, voxels = self._sums[:, self._organs].tolist()
        found = zip(inside, everywhere, voxels, strict=True)
        return tuple(2 * p / (q + n) if n else None for p, q, n in found)


def calibrate(estimates: Sequence[float], dices: Sequence[float]) -> Calibration:
    """Fit the line on organs of validation cases; where they are few or all alike the estimate is as it is."""
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


def unlike_training(grid: Grid, image: npt.NDArray[np.generic], known: Fingerprint) -> list[str]:
    """Return in words what of an image lies outside of what the model was trained on; empty where nothing does.

    Args:
        grid: Of the image, LPS.
        image: (C, Z, Y, X), as read.
        known: Of the training.
    """
    found = []
    spacings = zip("zyx", grid.spacing_mm, known.smallest_spacing_mm, known.largest_spacing_mm, strict=True)
    for axis, spacing, low, high in spacings:
        if not low / OUTSIDE <= spacing <= high * OUTSIDE:
            found.append(f"spacing {spacing:.3g} mm along {axis}, training had {low:.3g} to {high:.3g}")
    shapes = zip(known.smallest_shape, known.largest_shape, strict=True)
    for axis, extent, (few, many), (fine, coarse) in zip(
        "zyx",
        grid.extent_mm,
        shapes,
        zip(known.smallest_spacing_mm, known.largest_spacing_mm, strict=True),
        strict=True,
    ):
        if not few * fine / ALIKE <= extent <= many * coarse * ALIKE:
            found.append(
                f"field of view {extent:.0f} mm along {axis}, training had {few * fine:.0f} to {many * coarse:.0f}"
            )
    for channel, voxels in zip(known.channels, image, strict=True):
        steps = tuple(slice(None, None, max(1, n // SAMPLED)) for n in voxels.shape)
        low, high = (float(p) for p in np.percentile(voxels[steps], (1, 99.5)))
        if channel.ct and (high < HU_BODY or (channel.air > LITTLE_AIR and low > HU_AIR)):
            found.append(f"{channel.name}: intensities from {low:.0f} to {high:.0f} are not HU of a body in air")
    return found


def unusual_organs(
    found: Mapping[int, tuple[Bounds, float]], spacing_mm: Triple, known: Fingerprint
) -> dict[int, tuple[str, ...]]:
    """Return in words what of the found organs lies outside of what the training's label maps had.

    Args:
        found: Label value to its bounding box (first voxel and the one after the last, of each axis) and volume in ml.
        spacing_mm: Of the image (Z, Y, X).
        known: Of the training.

    Returns:
        Label value to sentences; only unusual organs. Places are told only where all organs were found, as they are
        relative to the mean of all.
    """
    told: dict[int, list[str]] = {}
    organs = [organ for organ in known.organs if organ.cases >= LEAST_CASES]
    for organ in organs:
        low, high = organ.smallest_ml, organ.largest_ml
        if organ.value in found and low is not None and high is not None:
            volume = found[organ.value][1]
            if not low / OUTSIDE <= volume <= high * OUTSIDE:
                told.setdefault(organ.value, []).append(f"{volume:.3g} ml, training had {low:.3g} to {high:.3g}")
    if all(organ.value in found for organ in known.organs) and len(known.organs) > 1:
        offsets = middle_offsets_mm([found[organ.value][0] for organ in known.organs], spacing_mm)
        for organ, offset in zip(known.organs, offsets, strict=True):
            if organ in organs and (far := _out_of_place_mm(offset, organ)) > 0:
                told.setdefault(organ.value, []).append(f"lies {far:.0f} mm outside of where training had it")
    return {value: tuple(words) for value, words in told.items()}


def _out_of_place_mm(offset_mm: npt.NDArray[np.float64], organ: OrganFingerprint) -> float:
    """Return how far a middle lies beyond half as much again as the training's range, on the worst axis; 0 inside."""
    if organ.lowest_offset_mm is None or organ.highest_offset_mm is None:
        return 0.0
    low, high = np.array(organ.lowest_offset_mm), np.array(organ.highest_offset_mm)
    beyond = np.maximum(low - offset_mm, offset_mm - high)
    return float(beyond.max()) if bool((beyond > (high - low) * (OUTSIDE - 1) + PLACE_MM).any()) else 0.0
