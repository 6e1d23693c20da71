"""Pair an organ's prediction with its truth: the input of every metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from autoseg.imaging.boxes import box_around, group_boxes
from autoseg.imaging.grid import Box, Triple, voxel_ml
from autoseg.labels import LabelMap, Mask
from autoseg.metrics.loss_kinds import lost_voxels, near_faces
from autoseg.metrics.overlap import Overlap, overlap
from autoseg.metrics.pieces import Labelled, Pieces, count_pieces, in_pieces
from autoseg.metrics.surface import SurfaceDistances, label_distances


@dataclass(frozen=True, kw_only=True, eq=False)
class OrganPair:
    """One organ in two label maps; values that metrics share are computed once, on first use.

    Where the truth is not known both maps have the value `ignored`, which is of no organ, and of no background either.
    """

    prediction: LabelMap
    truth: LabelMap
    values: tuple[int, ...]  # of the organ, in both maps; several where it overlaps with others
    spacing_mm: Triple
    overlap: Overlap
    prediction_box: Box | None  # around the organ; None where it is absent
    truth_box: Box | None
    opposite: tuple[int, ...] = ()  # values of the same organ of the other side
    others: tuple[int, ...] = ()  # values of the organs that share none with this one
    ignored: int | None = None  # None: the truth is known everywhere

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel (ml)."""
        return voxel_ml(self.spacing_mm)

    @property
    def is_in_one(self) -> bool:
        """Whether the organ is in only one of the two: missed, or invented."""
        return bool(self.overlap.truth) != bool(self.overlap.prediction)

    @cached_property
    def distances(self) -> SurfaceDistances | None:
        """Distances between the surfaces; None where either mask is empty, or no border of it lies in what is known."""
        boxes = (self.prediction_box, self.truth_box)
        unknown = None if self.ignored is None else np.asarray(self.truth == self.ignored)
        if len(self.values) == 1:
            return label_distances(self.prediction, self.truth, self.values[0], boxes, self.spacing_mm, unknown)
        masks = self._mask(self.prediction), self._mask(self.truth)
        return label_distances(*masks, 1, boxes, self.spacing_mm, unknown)

    @cached_property
    def masks(self) -> tuple[Mask, Mask]:
        """Prediction and truth as masks, in the box around the organ in both; empty arrays where it is in neither."""
        box = box_around((self.prediction_box, self.truth_box)) or (slice(0, 0),)
        return self._mask(self.prediction[box]), self._mask(self.truth[box])

    @property
    def diagonal_mm(self) -> float:
        """Length of the image's diagonal: no distance in it is larger."""
        return math.dist((0.0, 0.0, 0.0), [n * mm for n, mm in zip(self.truth.shape, self.spacing_mm, strict=True)])

    @cached_property
    def lost(self) -> dict[str, float] | None:
        """Dice that each kind of wrong voxel costs; together they are 1 − Dice. None where the organ is in neither."""
        whole, box = self.overlap.prediction + self.overlap.truth, box_around((self.prediction_box, self.truth_box))
        if box is None:
            return None
        maps = self.prediction[box], self.truth[box]
        opposite, others = ([np.isin(one, values) for one in maps] for values in (self.opposite, self.others))
        cut = near_faces(self.truth_box, box, self.truth.shape, self.spacing_mm)
        pairs = (opposite[0], opposite[1]), (others[0], others[1])
        counts = lost_voxels(*self.masks, *pairs, cut, self.spacing_mm, self.labelled)
        return {kind: voxels / whole for kind, voxels in counts.items()}

    @cached_property
    def labelled(self) -> tuple[Labelled, Labelled]:
        """The pieces of prediction and truth, in the box around the organ in both."""
        prediction, truth = self.masks
        return in_pieces(prediction), in_pieces(truth)

    @cached_property
    def pieces(self) -> Pieces | None:
        """Pieces of prediction and truth; None where the organ is in neither, or its truth not known everywhere."""
        present = self.overlap.prediction or self.overlap.truth
        return count_pieces(*self.masks, self.labelled) if present and self.ignored is None else None

    def _mask(self, label_map: LabelMap) -> Mask:
        return np.asarray(np.isin(label_map, self.values) if len(self.values) > 1 else label_map == self.values[0])


def organ_pairs(
    prediction: LabelMap,
    truth: LabelMap,
    labels: Mapping[int, tuple[int, ...]],
    spacing_mm: Triple,
    opposite: Mapping[int, int] = MappingProxyType({}),
    ignored: int | None = None,
) -> dict[int, OrganPair]:
    """Return a pair for each organ, in the order of `labels`.

    Args:
        prediction: Predicted label map (Z, Y, X), integers.
        truth: True label map (Z, Y, X), integers.
        labels: A key for each organ to the values within it, each at least 1.
        spacing_mm: Voxel spacing (Z, Y, X).
        opposite: Key of an organ to that of the same organ of the other side.
        ignored: Value of the truth where it is not known; what is predicted there does not count.

    Raises:
        VolumeError: As `overlap`.
    """
    unknown = None if ignored is None else truth == ignored
    if unknown is None or not unknown.any():
        ignored = None
    elif ignored is not None and prediction.shape == truth.shape:
        prediction = np.where(unknown, np.int32(ignored), prediction)
    counts = overlap(prediction, truth, labels, ignored)
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
            opposite=labels.get(opposite.get(key, 0), ()),
            others=tuple(value for other in labels.values() if not {*other} & {*values} for value in other),
            ignored=ignored,
        )
        for key, values in labels.items()
    }
