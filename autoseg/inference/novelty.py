"""Sentences on what in an image, or in its predicted organs, lies outside the range of the training data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from autoseg.dataset.fingerprint import LEAST_CASES, Bounds, Fingerprint, OrganFingerprint, middle_offsets_mm
from autoseg.imaging.grid import Grid, Triple

OUTSIDE = 1.5  # times beyond what training saw that a spacing may lie
SAMPLED = 64  # voxels looked at along each axis
ALIKE = 1.05  # times, in extents: headers round
PLACE_MM = 5.0  # that an organ may lie beyond, whatever the training's range
HU_AIR, HU_BODY = -300.0, 100.0  # a CT has voxels above the second, and below the first where the training had air
LITTLE_AIR = 0.05  # share of an image's voxels


def unlike_training(grid: Grid, image: npt.NDArray[np.generic], fingerprint: Fingerprint) -> list[str]:
    """Describe what in an image lies outside the range of the training data; empty where nothing does.

    Args:
        grid: Of the image, LPS.
        image: (C, Z, Y, X), as read.
        fingerprint: Of the training.
    """
    differences = []
    spacings = zip("zyx", grid.spacing_mm, fingerprint.smallest_spacing_mm, fingerprint.largest_spacing_mm, strict=True)
    for axis, spacing, low, high in spacings:
        if not low / OUTSIDE <= spacing <= high * OUTSIDE:
            differences.append(f"spacing {spacing:.3g} mm along {axis}, training had {low:.3g} to {high:.3g}")
    shapes = zip(fingerprint.smallest_shape, fingerprint.largest_shape, strict=True)
    for axis, extent, (few, many), (fine, coarse) in zip(
        "zyx",
        grid.extent_mm,
        shapes,
        zip(fingerprint.smallest_spacing_mm, fingerprint.largest_spacing_mm, strict=True),
        strict=True,
    ):
        if not few * fine / ALIKE <= extent <= many * coarse * ALIKE:
            differences.append(
                f"field of view {extent:.0f} mm along {axis}, training had {few * fine:.0f} to {many * coarse:.0f}"
            )
    for channel, voxels in zip(fingerprint.channels, image, strict=True):
        steps = tuple(slice(None, None, max(1, n // SAMPLED)) for n in voxels.shape)
        low, high = (float(p) for p in np.percentile(voxels[steps].astype(np.float32), (1, 99.5)))
        if channel.ct and (high < HU_BODY or (channel.air > LITTLE_AIR and low > HU_AIR)):
            differences.append(f"{channel.name}: intensities from {low:.0f} to {high:.0f} are not HU of a body in air")
    return differences


def unusual_organs(
    organs: Mapping[int, tuple[Bounds, float]], spacing_mm: Triple, fingerprint: Fingerprint
) -> dict[int, tuple[str, ...]]:
    """Describe what in a prediction's organs lies outside the range of the training's label maps.

    Args:
        organs: Label value to its bounding box (first voxel and the one after the last, of each axis) and volume in ml.
        spacing_mm: Of the image (Z, Y, X).
        fingerprint: Of the training.

    Returns:
        Label value to sentences; only unusual organs. Places are relative to the mean of all
        organs, so they are compared only where all are present.
    """
    remarks: dict[int, list[str]] = {}
    common = [organ for organ in fingerprint.organs if organ.cases >= LEAST_CASES]
    for organ in common:
        low, high = organ.smallest_ml, organ.largest_ml
        if organ.value in organs and low is not None and high is not None:
            volume = organs[organ.value][1]
            if not low / OUTSIDE <= volume <= high * OUTSIDE:
                remarks.setdefault(organ.value, []).append(f"{volume:.3g} ml, training had {low:.3g} to {high:.3g}")
    if all(organ.value in organs for organ in fingerprint.organs) and len(fingerprint.organs) > 1:
        offsets = middle_offsets_mm([organs[organ.value][0] for organ in fingerprint.organs], spacing_mm)
        for organ, offset in zip(fingerprint.organs, offsets, strict=True):
            if organ in common and (far := _out_of_place_mm(offset, organ)) > 0:
                remarks.setdefault(organ.value, []).append(f"lies {far:.0f} mm outside of where training had it")
    return {value: tuple(words) for value, words in remarks.items()}


def _out_of_place_mm(offset_mm: npt.NDArray[np.float64], organ: OrganFingerprint) -> float:
    """Return how far a middle lies beyond half as much again as the training's range, on the worst axis; 0 inside."""
    if organ.lowest_offset_mm is None or organ.highest_offset_mm is None:
        return 0.0
    low, high = np.array(organ.lowest_offset_mm), np.array(organ.highest_offset_mm)
    beyond = np.maximum(low - offset_mm, offset_mm - high)
    return float(beyond.max()) if bool((beyond > (high - low) * (OUTSIDE - 1) + PLACE_MM).any()) else 0.0
