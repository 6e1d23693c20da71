"""Pair an organ's prediction with its truth: the input of every metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoseg.imaging.boxes import box_around, group_boxes
from autoseg.imaging.grid import Box, Triple, voxel_ml
from autoseg.labels import LabelMap, Mask
from autoseg.metrics.overlap import Overlap, overlap
from autoseg.metrics.surface import SurfaceDistances, label_distances


@dataclass(frozen=True, kw_only=True, eq=False)
class OrganPair:
    """One organ in two label maps; values that metrics share are computed once, on first use."""

    prediction: LabelMap
    truth: LabelMap
    values: tuple[int, ...]  # of the organ, in both maps; several where it overlaps with others
    spacing_mm: Triple
    overlap: Overlap
    prediction_box: Box | None  # around the organ; None where it is absent
    truth_box: Box | None

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel (ml)."""
        return voxel_ml(self.spacing_mm)

    @cached_property
    def distances(self) -> SurfaceDistances | None:
        """Distances between the surfaces; None where either mask is empty."""
        boxes = (self.prediction_box, self.truth_box)
        if len(self.values) == 1:
            return label_distances(self.prediction, self.truth, self.values[0], boxes, self.spacing_mm)
        return label_distances(self._mask(self.prediction), self._mask(self.truth), 1, boxes, self.spacing_mm)

    @cached_property
    def masks(self) -> tuple[Mask, Mask]:
        """Prediction and truth as masks, in the box around the organ in both; empty arrays where it is in neither."""
        box = box_around((self.prediction_box, self.truth_box)) or (slice(0, 0),)
        return self._mask(self.prediction[box]), self._mask(self.truth[box])

    def _mask(self, label_map: LabelMap) -> Mask:
        return np.asarray(np.isin(label_map, self.values) if len(self.values) > 1 else label_map == self.values[0])


def organ_pairs(
    prediction: LabelMap, truth: LabelMap, labels: Mapping[int, tuple[int, ...]], spacing_mm: Triple
) -> dict[int, OrganPair]:
    """Return a pair for each organ, in the order of `labels`.

    Args:
        prediction: Predicted label map (Z, Y, X), integers.
        truth: True label map (Z, Y, X), integers.
        labels: A key for each organ to the values within it, each at least 1.
        spacing_mm: Voxel spacing (Z, Y, X).

    Raises:
        VolumeError: As `overlap`.
    """
    counts = overlap(prediction, truth, labels)
    boxes, true_boxes = group_boxes(prediction, labels), group_boxes(truth, labels)
    return {
        key: OrganPair(
            prediction=prediction,
            truth=truth,
            values=values,
            spacing_mm=spacing_mm,
            overlap=counts[key],
            prediction_box=boxes[key],
            truth_box=true_boxes[key],
        )
        for key, values in labels.items()
    }
