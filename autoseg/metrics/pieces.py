"""Pieces: an organ of several parts, as lesions or ribs are, counted part by part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from autoseg.labels import Mask

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


def count_pieces(prediction: Mask, truth: Mask) -> Pieces:
    """Count the pieces of two masks (Z, Y, X), and those that overlap by more than `OVERLAP` (IoU).

    Source: Kirillov et al. 2019, Panoptic Segmentation: above one half each piece has at most one partner.
    """
    pieces, predicted = ndimage.label(prediction, _TOUCHING)
    true_pieces, true = ndimage.label(truth, _TOUCHING)
    both = prediction & truth
    pairs, voxels = np.unique(np.stack([pieces[both], true_pieces[both]]), axis=1, return_counts=True)
    sizes, true_sizes = np.bincount(pieces.ravel()), np.bincount(true_pieces.ravel())
    union = sizes[pairs[0]] + true_sizes[pairs[1]] - voxels
    return Pieces(true=int(true), predicted=int(predicted), matched=int(np.count_nonzero(voxels / union > OVERLAP)))
