"""Pieces: an organ of several parts, as lesions or ribs are, counted part by part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.labels import Mask

Labelled = tuple[npt.NDArray[np.int32], int]  # the number of each voxel's piece, 0 outside; how many there are
OVERLAP = 0.5  # intersection over union above which two pieces are one: no piece then has two partners
_TOUCHING = np.ones((3, 3, 3))  # voxels that share a corner are connected


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Pieces of the truth and of the prediction, and how many of them are the same."""

    true: int
    predicted: int
    matched: int

    @property
    def missed(self) -> int:
        """Pieces of the truth that no piece of the prediction is."""
        return self.true - self.matched

    @property
    def invented(self) -> int:
        """Pieces of the prediction that no piece of the truth is."""
        return self.predicted - self.matched


def in_pieces(mask: Mask) -> Labelled:
    """Return the pieces of a mask: voxels that share a corner are of one."""
    numbers, count = ndimage.label(mask, _TOUCHING)
    return numbers, int(count)


def count_pieces(prediction: Mask, truth: Mask, labelled: tuple[Labelled, Labelled] | None = None) -> Pieces:
    """Count the pieces of two masks (Z, Y, X), and those that overlap by more than `OVERLAP` (IoU).

    Args:
        prediction: Of an organ.
        truth: Likewise.
        labelled: Their `in_pieces`, where they are known already.

    Source: Kirillov et al. 2019, Panoptic Segmentation: above one half each piece has at most one partner.
    """
    (pieces, predicted), (true_pieces, true) = labelled or (in_pieces(prediction), in_pieces(truth))
    both = prediction & truth
    columns = true + 1
    pairs, voxels = np.unique(pieces[both] * np.int64(columns) + true_pieces[both], return_counts=True)
    sizes, true_sizes = np.bincount(pieces.ravel()), np.bincount(true_pieces.ravel())
    union = sizes[pairs // columns] + true_sizes[pairs % columns] - voxels
    return Pieces(true=int(true), predicted=int(predicted), matched=int(np.count_nonzero(voxels / union > OVERLAP)))
