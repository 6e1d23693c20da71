"""Overlap of label maps: Dice, IoU, sensitivity and precision, from one pass over both maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.labels import LabelMap


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Voxels of one organ in a prediction, in the truth, and in both.

    Every ratio is None where its denominator is 0.
    """

    prediction: int
    truth: int
    both: int

    @property
    def dice(self) -> float | None:
        """Dice, 2·both / (prediction + truth); None where the organ is in neither ("absent").

        >>> Overlap(prediction=3, truth=5, both=2).dice
        0.5
        """
        return _ratio(2 * self.both, self.prediction + self.truth)

    @property
    def iou(self) -> float | None:
        """Intersection over union (Jaccard), both / either; None where the organ is in neither.

        >>> Overlap(prediction=3, truth=5, both=2).iou
        0.3333333333333333
        """
        return _ratio(self.both, self.prediction + self.truth - self.both)

    @property
    def sensitivity(self) -> float | None:
        """Share of the truth that was found (recall), both / truth; None without truth."""
        return _ratio(self.both, self.truth)

    @property
    def precision(self) -> float | None:
        """Share of the prediction that is true, both / prediction; None without prediction."""
        return _ratio(self.both, self.prediction)

    @property
    def missed(self) -> bool:
        """Whether the organ is in the truth and nothing of it was predicted."""
        return self.truth > 0 and self.prediction == 0


def overlap(
    prediction: LabelMap,
    truth: LabelMap,
    labels: Sequence[int] | Mapping[int, Sequence[int]],
    ignored: int | None = None,
) -> dict[int, Overlap]:
    """Count the voxels of every organ in one pass over both maps.

    Args:
        prediction: Predicted label map (Z, Y, X), integers.
        truth: True label map (Z, Y, X), integers.
        labels: Values to count, each at least 1; or, where organs overlap, a key for each to the values within it.
            Every other value counts as background.
        ignored: Value of the truth whose voxels are not counted, whatever is predicted there; None: all are.

    Returns:
        Value or key to its counts, in the order of `labels`.

    Raises:
        VolumeError: If the shapes differ or the voxels are not integers.
    """
    require_comparable(prediction, truth)
    groups = labels if isinstance(labels, Mapping) else {value: (value,) for value in labels}
    values = list(dict.fromkeys(value for group in groups.values() for value in group))
    row = {value: number for number, value in enumerate(values, start=1)}
    counts = _count_pairs(prediction, truth, values, ignored)
    return overlap_of_pairs(counts, {key: [row[value] for value in group] for key, group in groups.items()})


def overlap_of_pairs(pairs: npt.NDArray[np.int64], rows: Mapping[int, Sequence[int]]) -> dict[int, Overlap]:
    """Return the counts of each organ, given how many voxels have each pair of numbers.

    Args:
        pairs: Voxels by number in the prediction (row) and in the truth (column).
        rows: Key of an organ to its numbers.
    """
    return {
        key: Overlap(
            prediction=int(pairs[inside].sum()),
            truth=int(pairs[:, inside].sum()),
            both=int(pairs[np.ix_(inside, inside)].sum()),
        )
        for key, inside in ((key, list(some)) for key, some in rows.items())
    }


def _count_pairs(
    prediction: LabelMap, truth: LabelMap, values: Sequence[int], ignored: int | None
) -> npt.NDArray[np.int64]:
    """Return how many voxels have each pair of values, (prediction, truth); row and column 0 are any other value."""
    place = np.zeros(max(values, default=0) + 2, dtype=np.intp)  # value -> row of the table, 0 for anything else
    place[list(values)] = np.arange(1, len(values) + 1)
    size = len(values) + 1
    table = np.zeros(size * size, dtype=np.int64)
    for one, other in zip(prediction, truth, strict=True):  # slice by slice: no copy of a whole volume
        counted = (one != 0) | (other != 0)  # most of a volume is background in both
        foreground = np.flatnonzero(counted if ignored is None else counted & (other != ignored))
        pair = place[one.take(foreground).clip(0, len(place) - 1)] * size
        pair += place[other.take(foreground).clip(0, len(place) - 1)]
        table += np.bincount(pair, minlength=size * size)
    return table.reshape(size, size)


def dice(
    prediction: LabelMap,
    truth: LabelMap,
    labels: Sequence[int] | Mapping[int, Sequence[int]],
    ignored: int | None = None,
) -> dict[int, float | None]:
    """Return the Dice of every label, 0 to 1; `labels` and `ignored` as in `overlap`.

    An organ that is in neither map has no Dice (None); one that is in only one of them has Dice 0.

    Raises:
        VolumeError: As `overlap`.
    """
    return {value: counts.dice for value, counts in overlap(prediction, truth, labels, ignored).items()}


def require_comparable(prediction: LabelMap, truth: LabelMap) -> None:
    """Raise VolumeError unless both maps have the same shape and hold integers."""
    if prediction.shape != truth.shape:
        raise VolumeError(
            f"the prediction has {prediction.shape} voxels but the truth has {truth.shape}; "
            "bring them to the same grid first"
        )
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.dtype.kind not in "biu":
            raise VolumeError(f"the {name} must hold integers, got {labels.dtype}; round and convert it first")


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
