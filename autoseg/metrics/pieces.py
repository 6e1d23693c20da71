"""Pieces: an organ of several parts, as lesions or ribs are, counted part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.imaging.grid import Triple
from autoseg.labels import Mask

Labelled = tuple[npt.NDArray[np.int32], int]  # the number of each voxel's piece, 0 outside; how many there are
Numbers = npt.NDArray[np.int64]
OVERLAP = 0.5  # intersection over union above which two pieces are one: no piece then has two partners
_TOUCHING = np.ones((3, 3, 3))  # voxels that share a corner are connected


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Pieces of the truth and of the prediction, how many of them are the same, and how well these agree."""

    true: int
    predicted: int
    matched: int
    matched_dice: float  # sum over the matched

    @property
    def missed(self) -> int:
        """Pieces of the truth that no piece of the prediction is."""
        return self.true - self.matched

    @property
    def invented(self) -> int:
        """Pieces of the prediction that no piece of the truth is."""
        return self.predicted - self.matched

    @property
    def f1(self) -> float:
        """Share of the pieces, of both, that are matched."""
        return 2 * self.matched / (self.true + self.predicted)

    @property
    def dice(self) -> float:
        """Mean Dice over all pieces, 0 of each that was missed or invented (lesion-wise Dice)."""
        return self.matched_dice / (self.true + self.invented)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of the truth, of the prediction, or, where it was found, of both."""

    outcome: Literal["found", "missed", "invented"]
    predicted: int  # voxels
    true: int  # voxels
    shared: int  # voxels that are in both
    centre: Triple  # index of its middle (z, y, x) in the masks; of the truth's where there is one


def in_pieces(mask: Mask) -> Labelled:
    """Return the pieces of a mask: voxels that share a corner are of one."""
    numbers, count = ndimage.label(mask, _TOUCHING)
    return numbers, int(count)


def count_pieces(prediction: Mask, truth: Mask, labelled: tuple[Labelled, Labelled] | None = None) -> Pieces:
    """Count the pieces of two masks (Z, Y, X), of which one is not empty, and match those that are the same.

    Args:
        prediction: Of an organ.
        truth: Likewise.
        labelled: Their `in_pieces`, where they are known already.
    """
    both = labelled or (in_pieces(prediction), in_pieces(truth))
    _, _, shared, sizes = _matches(*both)
    dice = (2 * shared / sizes.sum(axis=0)).sum()
    return Pieces(true=both[1][1], predicted=both[0][1], matched=len(shared), matched_dice=float(dice))


def each_piece(labelled: tuple[Labelled, Labelled]) -> Iterator[Piece]:
    """Yield the pieces of prediction and truth: those of the truth by number, then what was invented."""
    (pieces, predicted), (true_pieces, true) = labelled
    numbers, true_numbers, shared, _ = _matches(*labelled)
    partner = {int(t): (int(p), int(n)) for p, t, n in zip(numbers, true_numbers, shared, strict=True)}
    sizes, true_sizes = (np.bincount(part.ravel(), minlength=1) for part in (pieces, true_pieces))
    for number, centre in zip(range(1, true + 1), _centres(true_pieces, true), strict=True):
        other, voxels = partner.get(number, (0, 0))
        yield Piece(
            outcome="found" if other else "missed",
            predicted=int(sizes[other]) if other else 0,
            true=int(true_sizes[number]),
            shared=voxels,
            centre=centre,
        )
    for number, centre in zip(range(1, predicted + 1), _centres(pieces, predicted), strict=True):
        if number not in numbers:
            yield Piece(outcome="invented", predicted=int(sizes[number]), true=0, shared=0, centre=centre)


def _centres(pieces: npt.NDArray[np.int32], count: int) -> list[Triple]:
    return ndimage.center_of_mass(pieces > 0, pieces, range(1, count + 1)) if count else []


def _matches(predicted: Labelled, true: Labelled) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Return the pairs of pieces that overlap by more than `OVERLAP` (intersection over union).

    Returns:
        Their numbers in the prediction and in the truth, the voxels that they share, and the sizes of both, (2, pairs).

    Source: Kirillov et al. 2019, Panoptic Segmentation: above one half each piece has at most one partner.
    """
    (pieces, _), (true_pieces, count) = predicted, true
    both, columns = (pieces > 0) & (true_pieces > 0), count + 1
    pairs, shared = np.unique(pieces[both] * np.int64(columns) + true_pieces[both], return_counts=True)
    numbers, true_numbers = pairs // columns, pairs % columns
    sizes = np.stack((np.bincount(pieces.ravel())[numbers], np.bincount(true_pieces.ravel())[true_numbers]))
    matched = shared / (sizes.sum(axis=0) - shared) > OVERLAP
    return numbers[matched], true_numbers[matched], shared[matched], sizes[:, matched]
