"""Pair an organ's prediction with its truth: the input of every metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from autoseg.imaging.grid import Box, Triple
from autoseg.metrics.overlap import LabelMap, Overlap, overlap
from autoseg.metrics.surface import Mask, SurfaceDistances, label_distances

MM3_PER_ML = 1000.0


@dataclass(frozen=True, kw_only=True, eq=False)
class OrganPair:
    """One organ in two label maps; values that metrics share are computed once, on first use."""

    prediction: LabelMap
    truth: LabelMap
    value: int  # of the organ, in both maps
    spacing_mm: Triple
    overlap: Overlap
    prediction_box: Box | None  # around the organ; None where it is absent
    truth_box: Box | None

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel (ml)."""
        return float(np.prod(self.spacing_mm)) / MM3_PER_ML

    @cached_property
    def distances(self) -> SurfaceDistances | None:
        """Distances between the surfaces; None where either mask is empty."""
        return label_distances(
            self.prediction, self.truth, self.value, (self.prediction_box, self.truth_box), self.spacing_mm
        )

    @cached_property
    def masks(self) -> tuple[Mask, Mask]:
        """Prediction and truth as masks, in the box around the organ in both; empty arrays where it is in neither."""
        boxes = [box for box in (self.prediction_box, self.truth_box) if box is not None]
        box = tuple(
            slice(min(part.start for part in parts), max(part.stop for part in parts))
            for parts in zip(*boxes, strict=True)
        ) or (slice(0, 0),)
        return self.prediction[box] == self.value, self.truth[box] == self.value


def organ_pairs(
    prediction: LabelMap, truth: LabelMap, labels: Sequence[int], spacing_mm: Triple
) -> dict[int, OrganPair]:
    """Return label value to pair, in the order of `labels`.

    Args:
        prediction: Predicted label map (Z, Y, X), integers.
        truth: True label map (Z, Y, X), integers.
        labels: Values to compare, each at least 1.
        spacing_mm: Voxel spacing (Z, Y, X).

    Raises:
        VolumeError: As `overlap`.
    """
    counts = overlap(prediction, truth, labels)
    most = max(labels, default=0)
    boxes, true_boxes = (ndimage.find_objects(labelled, max_label=most) for labelled in (prediction, truth))
    return {
        value: OrganPair(
            prediction=prediction,
            truth=truth,
            value=value,
            spacing_mm=spacing_mm,
            overlap=counts[value],
            prediction_box=boxes[value - 1],
            truth_box=true_boxes[value - 1],
        )
        for value in labels
    }
