"""Distances between the surfaces of two masks: Hausdorff, average, and the share within a tolerance.

The surface of a mask is the set of its border voxels: those with a face on the outside of the mask, where the outside
of the volume counts as outside; along an axis of one voxel there is none, so of a single slice it is the contour. A
distance runs from a border voxel's centre to the nearest border voxel's centre of the other mask, in mm. Every border
voxel weighs the same. This is the definition of MONAI's metrics; DeepMind's surface-distance weighs each element of the
surface by its area instead.

Where the truth is not known there is no surface: only a face on a known voxel outside the mask makes a border voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from autoseg.imaging.grid import Box, Triple
from autoseg.labels import LabelMap, Mask
from autoseg.metrics.overlap import require_comparable

LEAF = 32  # points of a leaf of the search tree
# a distance that is as long as a limit is not beyond it, though a header rounds its spacing to float32
ROUNDING_MM = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceDistances:
    """Distances between two surfaces that are not empty, in mm."""

    to_truth_mm: npt.NDArray[np.float64]  # (border voxels of the prediction,), to the nearest of the truth
    to_prediction_mm: npt.NDArray[np.float64]  # (border voxels of the truth,), to the nearest of the prediction

    def hausdorff_mm(self, percentile: float = 100.0) -> float:
        """Return the larger of the two directed percentiles: 100 for the Hausdorff distance, 95 for HD95."""
        return float(max(np.percentile(self.to_truth_mm, percentile), np.percentile(self.to_prediction_mm, percentile)))

    @property
    def average_mm(self) -> float:
        """Average symmetric surface distance (ASSD): the mean over the border voxels of both."""
        voxels = len(self.to_truth_mm) + len(self.to_prediction_mm)
        return float((self.to_truth_mm.sum() + self.to_prediction_mm.sum()) / voxels)

    def share_within(self, tolerance_mm: float) -> float:
        """Return the normalised surface Dice (NSD): the share of both borders within a tolerance of the other.

        Source: Nikolov et al. 2021, "Clinically applicable segmentation of head and neck anatomy", with border voxels
        for surface elements.
        """
        limit = tolerance_mm + ROUNDING_MM
        near = np.count_nonzero(self.to_truth_mm <= limit) + np.count_nonzero(self.to_prediction_mm <= limit)
        return float(near / (len(self.to_truth_mm) + len(self.to_prediction_mm)))


def surface_distances(
    prediction: LabelMap, truth: LabelMap, labels: Sequence[int], spacing_mm: Triple, threads: int = 1
) -> dict[int, SurfaceDistances | None]:
    """Return the distances of every label, worked out in the box around the organ only.

    Args:
        prediction: Predicted label map (Z, Y, X), integers.
        truth: True label map (Z, Y, X), integers.
        labels: Values to measure, each at least 1.
        spacing_mm: Voxel spacing (Z, Y, X).
        threads: Organs measured at the same time.

    Returns:
        Label value to its distances, in the order of `labels`; None where either mask is empty.

    Raises:
        VolumeError: As `overlap`.
    """
    require_comparable(prediction, truth)
    most = max(labels, default=0)
    boxes, true_boxes = (ndimage.find_objects(one, max_label=most) for one in (prediction, truth))

    def measure(value: int) -> SurfaceDistances | None:
        return label_distances(prediction, truth, value, (boxes[value - 1], true_boxes[value - 1]), spacing_mm)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        return dict(zip(labels, pool.map(measure, labels), strict=True))


def label_distances(
    prediction: LabelMap,
    truth: LabelMap,
    value: int,
    boxes: tuple[Box | None, Box | None],
    spacing_mm: Triple,
    unknown: Mask | None = None,
) -> SurfaceDistances | None:
    """Return the distances of one label from its boxes in both maps; None where either mask or surface is empty.

    Args:
        prediction: Predicted label map (Z, Y, X), integers.
        truth: True label map (Z, Y, X), integers.
        value: Of the label.
        boxes: Around it in both; None where it is absent.
        spacing_mm: Voxel spacing (Z, Y, X).
        unknown: Where the truth is not known (Z, Y, X); both maps have other values there. None: it is everywhere.
    """
    box, true_box = boxes
    if box is None or true_box is None:
        return None
    if unknown is None:
        points, true_points = (
            border_mm(one, value, place, spacing_mm) for one, place in ((prediction, box), (truth, true_box))
        )
    else:
        points, true_points = (
            _known_border_mm(one, value, place, spacing_mm, unknown)
            for one, place in ((prediction, box), (truth, true_box))
        )
        if not len(points) or not len(true_points):
            return None
    return SurfaceDistances(
        to_truth_mm=_nearest_mm(points, true_points), to_prediction_mm=_nearest_mm(true_points, points)
    )


def border_mm(labels: LabelMap, value: int, box: Box, spacing_mm: Triple) -> npt.NDArray[np.float64]:
    """Return the centres of a label's border voxels, (voxels, 3) in mm from the volume's first voxel."""
    mask = labels[box] == value
    inside = np.zeros_like(mask)
    axes = _axes(labels)
    core = tuple(slice(1, -1) if axis in axes else slice(None) for axis in range(3))
    if all(mask.shape[axis] > 2 for axis in axes):
        inside[core] = mask[core]
        for axis in axes:
            for side in (slice(None, -2), slice(2, None)):
                inside[core] &= mask[tuple(side if a == axis else part for a, part in enumerate(core))]
    voxels = np.argwhere(mask & ~inside) + [part.start for part in box]
    return np.asarray(voxels * np.array(spacing_mm))


def _axes(labels: LabelMap) -> tuple[int, ...]:
    """Return the axes along which a volume has borders: not those of one voxel, as of a single slice."""
    return tuple(axis for axis in range(3) if labels.shape[axis] > 1) or (0, 1, 2)


def _known_border_mm(
    labels: LabelMap, value: int, box: Box, spacing_mm: Triple, unknown: Mask
) -> npt.NDArray[np.float64]:
    """Return the same as `border_mm` of the voxels that have a face on a known voxel, or on the volume's border."""
    around = tuple(
        slice(max(0, part.start - 1), min(size, part.stop + 1)) for part, size in zip(box, labels.shape, strict=True)
    )
    mask = labels[around] == value
    faces = np.zeros((3, 3, 3), dtype=bool)
    faces[1, 1, 1] = True
    for axis in _axes(labels):
        np.moveaxis(faces, axis, 0)[:, 1, 1] = True
    inside = ndimage.binary_erosion(mask | unknown[around], faces)
    voxels = np.argwhere(mask & ~inside) + [part.start for part in around]
    return np.asarray(voxels * np.array(spacing_mm))


def _nearest_mm(points: npt.NDArray[np.float64], goal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the distance from every point (n, 3) to the nearest of `goal`, (n,)."""
    tree = cKDTree(goal, leafsize=LEAF, compact_nodes=False, balanced_tree=False)
    return np.asarray(tree.query(points)[0])
