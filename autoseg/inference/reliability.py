"""Reliability: how often a probability is right. Counted while a mask is made, where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoseg.inference.calibration import LEAST_PROBABILITY
from autoseg.labels import Atoms, LabelScheme

BINS = 10  # of equal width, from 0 to 1
Counts = npt.NDArray[np.float64]  # (BINS, 3): voxels, those of the organ in truth, sum of the probabilities


class Reliability:
    """Counts the voxels of each organ by the probability that the network gives it, on the working grid.

    Voxels whose probability is at most `LEAST_PROBABILITY` are left out: nearly all of an image is sure background, and
    would make every network look calibrated. So are those whose truth is not known.
    """

    def __init__(self, scheme: LabelScheme, truth: Atoms) -> None:
        """Begin with no voxel.

        Args:
            scheme: Of the classes.
            truth: Atoms on the working grid (Z, Y, X).
        """
        self._scheme, self._truth = scheme, truth
        self._counts: dict[int, Counts] = {index: np.zeros((BINS, 3)) for index in scheme.organs}

    def add(self, probabilities: Tensor, first: int) -> None:
        """Take slices: probabilities (classes, z, Y, X), the first of which is slice `first` of the working grid."""
        truth = np.asarray(self._truth[first : first + probabilities.shape[1]])
        known = None if self._scheme.ignored is None else torch.from_numpy(self._scheme.known(truth).ravel())
        for index, counts in self._counts.items():
            values = probabilities[index].flatten()
            above = values > LEAST_PROBABILITY
            near = torch.nonzero(above if known is None else above & known).flatten()
            if len(near):
                p = values[near].double().numpy()
                right = self._scheme.class_mask(truth, index).ravel()[near.numpy()]
                bins = np.minimum((p * BINS).astype(np.intp), BINS - 1)
                for column, weights in enumerate((None, right, p)):
                    counts[:, column] += np.bincount(bins, weights, minlength=BINS)

    def replace(self, counts: Mapping[int, Counts]) -> None:
        """Take the counts of a second look at some classes, on its own grid."""
        self._counts.update(counts)

    def counts(self) -> Mapping[int, Counts]:
        """Return the counts of each organ, by its class."""
        return self._counts
