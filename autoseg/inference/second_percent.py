"""Probabilities of two stages in the second one's box, on the image's own grid, in agreement with the pasted mask.

An organ of the second stage has the probability that this gives it. What it gives to its background is shared among
all other classes, background too, as the first stage has them beside each other. Where one of these is pasted, though
an organ of the second stage is as probable by itself, it takes from the others as much as makes it the most probable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.imaging.grid import Box, Voxels
from autoseg.imaging.resample import FloatArray
from autoseg.inference.second_input import Probabilities, weights_along
from autoseg.labels import Atoms

SLICES = 8  # of the image that are done at a time
LEAST = 1e-6  # of the probability of all classes together that a share is taken of


@dataclass(frozen=True, kw_only=True)
class BoxPercent:
    """Probabilities in a box of an image, which replace those of the first stage there."""

    box: Box  # voxels of the image
    percent: Atoms  # whole percent, (classes of the first stage, Z, Y, X)


def box_percent(
    mask: Atoms, box: Box, full: Voxels, first: Probabilities, second: Probabilities, classes: Sequence[int]
) -> BoxPercent:
    """Return the probabilities of all classes in a box.

    Args:
        mask: Pasted and not cleaned, in the box (Z, Y, X).
        box: Voxels of the image.
        full: Voxels of the image (Z, Y, X).
        first: By the first stage, on its working grid of the whole image.
        second: By the second stage, on its working grid of the box.
        classes: Of the first stage that the organs of the second are.
    """
    depth, height, width = mask.shape
    own = (slice(0, depth), slice(0, height), slice(0, width))
    coarse, fine = _Part(first, box, full), _Part(second, own, (depth, height, width))
    percent = np.empty((len(first), *mask.shape), dtype=np.uint8)
    for start in range(0, depth, SLICES):
        rows = slice(start, min(start + SLICES, depth))
        both = _together(coarse.slices(rows), fine.slices(rows), classes)
        percent[:, rows] = np.rint(100 * _in_agreement(both, mask[rows], classes))
    return BoxPercent(box=box, percent=percent)


class _Part:
    """Probabilities that are interpolated linearly to the image's voxels in a box, some slices at a time."""

    def __init__(self, probabilities: Probabilities, box: Box, full: Voxels) -> None:
        self.probabilities = probabilities
        sizes = [part.stop - part.start for part in box]
        axes = zip(probabilities.shape[1:], full, box, sizes, strict=True)
        self.z, self.y, self.x = (weights_along(*axis) for axis in axes)

    def slices(self, rows: slice) -> FloatArray:
        """Return slices of the box, (classes, Z, Y, X)."""
        z = self.z[rows]
        used = np.flatnonzero(z.any(axis=0))
        between = slice(used[0], used[-1] + 1)
        return np.stack(
            [
                np.tensordot(z[:, between], self.y @ (channel[between].astype(np.float32) @ self.x.T), axes=1)
                for channel in self.probabilities
            ]
        )


def _together(first: FloatArray, second: FloatArray, classes: Sequence[int]) -> FloatArray:
    """Return the probabilities (classes, Z, Y, X) of both stages on one grid, as they are by themselves."""
    others = first.copy()
    others[list(classes)] = 0.0
    total = others.sum(axis=0)
    others *= second[0] / np.maximum(total, LEAST)
    others[0] = np.where(total < LEAST, second[0], others[0])  # where the first stage holds none of them for possible
    others[list(classes)] = second[1:]
    return others


def _in_agreement(probabilities: FloatArray, mask: Atoms, classes: Sequence[int]) -> FloatArray:
    """Return probabilities (classes, Z, Y, X) of which the class of the mask (Z, Y, X) has the highest."""
    others = np.ones((len(probabilities), 1, 1, 1), dtype=bool)
    others[list(classes)] = False
    own = np.take_along_axis(probabilities, mask[None].astype(np.intp), axis=0)[0]
    highest = probabilities.max(axis=0)
    free = np.where(others, probabilities, 0.0).sum(axis=0) - own  # of which it may take
    kept = np.where(free > LEAST, np.clip((free - (highest - own)) / np.maximum(free, LEAST), 0.0, 1.0), 1.0)
    scaled = np.where(others & ~np.isin(mask, classes), probabilities * kept, probabilities)
    np.put_along_axis(scaled, mask[None].astype(np.intp), highest[None], axis=0)
    return np.asarray(scaled, dtype=np.float32)
