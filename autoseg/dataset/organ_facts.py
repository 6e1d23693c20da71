"""The facts of one organ in one label map: a row of numbers, as very many are held."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.imaging.grid import Triple, Voxels
from autoseg.imaging.volumes import Volume

Array = npt.NDArray[Any]
Doubles: TypeAlias = "array[float]"  # float64
Bounds = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # first voxel and one past the last, (Z, Y, X)

ALONE = 14  # numbers of an organ that are not of a channel


@dataclass(frozen=True, slots=True)
class OrganFacts:
    """One organ in one label map; its numbers lie in one row, as very many are held."""

    value: int
    row: Doubles  # voxels, ml, box, centroid_mm, at_border, islands, largest; mean, then std of each channel

    @classmethod
    def of(
        cls,
        value: int,
        *,
        size: tuple[int, float],
        box: Bounds,
        centroid_mm: Triple,
        at_border: bool,
        islands: tuple[int, float],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> OrganFacts:
        """Return the facts of an organ of a size (voxels, ml) in so many islands, of which the largest has a share."""
        bounds = itertools.chain.from_iterable(box)
        return cls(value, array("d", (*size, *bounds, *centroid_mm, at_border, *islands, *mean, *std)))

    @property
    def place(self) -> bytes:
        """What two organs have in common if they are of as many voxels in the same box."""
        return (self.row[:1] + self.row[2:8]).tobytes()

    def moved(self, by: Voxels) -> OrganFacts:
        """Return the organ with its box as seen from another first voxel (Z, Y, X)."""
        row = self.row[:]
        for axis, voxels in enumerate(by):
            row[2 + 2 * axis] -= voxels
            row[3 + 2 * axis] -= voxels
        return OrganFacts(self.value, row)

    @property
    def voxels(self) -> int:
        """Voxels in all."""
        return int(self.row[0])

    @property
    def ml(self) -> float:
        """Volume."""
        return self.row[1]

    @property
    def box(self) -> Bounds:
        """First voxel and one past the last, (Z, Y, X)."""
        z0, z1, y0, y1, x0, x1 = map(int, self.row[2:8])
        return (z0, z1), (y0, y1), (x0, x1)

    @property
    def extent_voxels(self) -> Voxels:
        """Length of the bounding box (Z, Y, X)."""
        z, y, x = (stop - start for start, stop in self.box)
        return z, y, x

    @property
    def centroid_mm(self) -> Triple:
        """From the centre of the image, (Z, Y, X); along LPS, so +X is the patient's left."""
        z, y, x = self.row[8:11]
        return z, y, x

    @property
    def at_border(self) -> bool:
        """Whether it reaches the first or last voxel of an axis of more than one."""
        return bool(self.row[11])

    @property
    def islands(self) -> int:
        """Parts that do not touch, corners counting as touching."""
        return int(self.row[12])

    @property
    def largest(self) -> float:
        """Share of the voxels that the largest island has."""
        return self.row[13]

    @property
    def mean(self) -> Doubles:
        """Intensity, one a channel."""
        return self.row[ALONE : (ALONE + len(self.row)) // 2]

    @property
    def std(self) -> Doubles:
        """Standard deviation of the intensity within the organ, one a channel."""
        return self.row[(ALONE + len(self.row)) // 2 :]


def organ_facts(
    value: int, inside_values: tuple[int, ...], box: tuple[slice, ...], label: Array, image: Volume
) -> OrganFacts:
    """Measure an organ.

    Args:
        value: Of the organ.
        inside_values: Of the label map that are within it.
        box: Around it, (Z, Y, X).
        label: (Z, Y, X).
        image: With an array (C, Z, Y, X) on the same grid.
    """
    mask = label[box] == value if len(inside_values) == 1 else np.isin(label[box], inside_values)
    profiles = [np.count_nonzero(mask, axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
    voxels = int(profiles[0].sum())
    inside = [float(profile @ np.arange(len(profile))) / voxels for profile in profiles]
    grid = image.grid
    z, y, x = (
        (part.start + at - (n - 1) / 2) * mm
        for part, at, n, mm in zip(box, inside, grid.shape, grid.spacing_mm, strict=True)
    )
    parts, islands = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    largest = voxels if islands == 1 else int(np.bincount(parts.ravel())[1:].max())
    inside_image = [channel[box][mask] for channel in image.array]
    spans = [(int(part.start), int(part.stop)) for part in box]
    return OrganFacts.of(
        value,
        size=(voxels, voxels * grid.voxel_ml),
        box=(spans[0], spans[1], spans[2]),
        centroid_mm=(z, y, x),
        at_border=any(n > 1 and (a == 0 or b == n) for (a, b), n in zip(spans, grid.shape, strict=True)),
        islands=(int(islands), largest / voxels),
        mean=[float(intensities.mean(dtype=np.float64)) for intensities in inside_image],
        std=[float(intensities.std(dtype=np.float64)) for intensities in inside_image],
    )
