"""How well a prediction agrees with the truth: overlap and distances of label maps and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.errors import VolumeError
from autoseg.grid import Triple

LabelMap = npt.NDArray[np.integer] | npt.NDArray[np.bool_]  # (Z, Y, X)
Mask = npt.NDArray[np.bool_]  # (Z, Y, X)
Box = tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Voxels of one organ in a prediction, in the truth, and in both."""

    prediction: int
    truth: int
    both: int

    @property
    def dice(self) -> float | None:
        """Dice, 2·both / (prediction + truth); None where the organ is in neither ("absent").

        >>> Overlap(prediction=3, truth=5, both=2).dice
        0.5
        """
        total = self.prediction + self.truth
        return 2.0 * self.both / total if total else None

    @property
    def missed(self) -> bool:
        """Whether the organ is in the truth and nothing of it was predicted."""
        return self.truth > 0 and self.prediction == 0


def overlap(prediction: LabelMap, truth: LabelMap, labels: Sequence[int]) -> dict[int, Overlap]:
    """Count the voxels of every label in one pass over both maps.

    Args:
        prediction: Predicted label map (Z, Y, X), integers.
        truth: True label map (Z, Y, X), integers.
        labels: Values to count, each at least 1; every other value counts as background.

    Returns:
        Label value to its counts, in the order of `labels`.

    Raises:
        VolumeError: If the shapes differ or the voxels are not integers.
    """
    _require_comparable(prediction, truth)
    place = np.zeros(max(labels, default=0) + 2, dtype=np.intp)  # value -> row of the table, 0 for anything else
    place[list(labels)] = np.arange(1, len(labels) + 1)
    size = len(labels) + 1
    table = np.zeros(size * size, dtype=np.int64)
    for one, other in zip(prediction, truth, strict=True):  # slice by slice: no copy of a whole volume
        pair = place[one.clip(0, len(place) - 1)] * size + place[other.clip(0, len(place) - 1)]
        table += np.bincount(pair.ravel(), minlength=size * size)
    counts = table.reshape(size, size)  # (prediction, truth)
    predicted, true, both = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    return {
        value: Overlap(prediction=int(predicted[i]), truth=int(true[i]), both=int(both[i]))
        for i, value in enumerate(labels, start=1)
    }


def dice(prediction: LabelMap, truth: LabelMap, labels: Sequence[int]) -> dict[int, float | None]:
    """Return the Dice of every label, 0 to 1.

    An organ that is in neither map has no Dice (None); one that is in only one of them has Dice 0.

    Raises:
        VolumeError: As `overlap`.
    """
    return {value: counts.dice for value, counts in overlap(prediction, truth, labels).items()}


def hd95_by_label(
    prediction: LabelMap, truth: LabelMap, labels: Sequence[int], spacing_mm: Triple
) -> dict[int, float | None]:
    """Return `hd95_mm` of every label; each is worked out in the box around the organ only.

    Args:
        prediction: Predicted label map (Z, Y, X), integers.
        truth: True label map (Z, Y, X), integers.
        labels: Values to measure, each at least 1.
        spacing_mm: Voxel spacing (Z, Y, X).

    Raises:
        VolumeError: As `overlap`.
    """
    _require_comparable(prediction, truth)
    boxes, true_boxes = _boxes(prediction, labels), _boxes(truth, labels)
    found: dict[int, float | None] = {}
    for value in labels:
        one, other = boxes[value], true_boxes[value]
        found[value] = None
        if one is not None and other is not None:
            box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
            found[value] = _hd95_mm(prediction[box] == value, truth[box] == value, spacing_mm)
    return found


def hd95_mm(prediction: Mask, truth: Mask, spacing_mm: Triple) -> float | None:
    """Return the symmetric 95th-percentile Hausdorff distance of two masks.

    The larger of the two directed 95th percentiles of the distances from border voxel to nearest border voxel.
    Border voxels are those with a face on the outside of the mask; the outside of the volume counts as outside.

    Args:
        prediction: Predicted mask (Z, Y, X).
        truth: True mask (Z, Y, X).
        spacing_mm: Voxel spacing (Z, Y, X).

    Returns:
        Distance in mm; None where either mask is empty.

    Raises:
        VolumeError: If the shapes differ.

    Source: the definition is that of MONAI's `compute_hausdorff_distance(..., percentile=95)`.
    """
    return hd95_by_label(prediction, truth, (1,), spacing_mm)[1]


def _hd95_mm(prediction: Mask, truth: Mask, spacing_mm: Triple) -> float:
    border, true_border = _border(prediction), _border(truth)
    there = _distances_mm(border, true_border, spacing_mm)
    back = _distances_mm(true_border, border, spacing_mm)
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _border(mask: Mask) -> Mask:
    """Return the voxels of `mask` with a face on its outside."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask), dtype=np.bool_)


def _distances_mm(start: Mask, goal: Mask, spacing_mm: Triple) -> npt.NDArray[np.float64]:
    """Return the distance from every voxel of `start` to the nearest of `goal` (neither empty), shape (voxels,)."""
    # Where the nearest voxel is takes a third of the memory of how far it is, and only the border needs the latter.
    nearest = ndimage.distance_transform_edt(
        ~goal, sampling=spacing_mm, return_distances=False, return_indices=True
    )  # (3, Z, Y, X)
    steps = nearest[:, start] - np.stack(np.nonzero(start))  # (3, voxels)
    return np.asarray(np.linalg.norm(steps * np.reshape(spacing_mm, (3, 1)), axis=0))


def _boxes(labels: LabelMap, values: Sequence[int]) -> dict[int, Box | None]:
    """Return the bounding box of every value; None where it does not occur."""
    found = ndimage.find_objects(labels, max_label=max(values, default=0))
    return {value: found[value - 1] for value in values}


def _require_comparable(prediction: LabelMap, truth: LabelMap) -> None:
    """Raise VolumeError unless both maps have the same shape and hold integers."""
    if prediction.shape != truth.shape:
        raise VolumeError(
            f"the prediction has {prediction.shape} voxels but the truth has {truth.shape}; "
            "bring them to the same grid first"
        )
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.dtype.kind not in "biu":
            raise VolumeError(f"the {name} must hold integers, got {labels.dtype}; round and convert it first")
