"""Where an organ's Dice is lost: every wrong voxel has one kind, and each costs the same share of the Dice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from autoseg.imaging.grid import Box, Triple
from autoseg.labels import Mask
from autoseg.metrics.pieces import Labelled, in_pieces
from autoseg.metrics.surface import LEAF, ROUNDING_MM, border_mm

FAR_MM = 5.0  # a wrong voxel farther than this from the other mask is no matter of where the border is drawn
EDGE_MM = 10.0  # from a face of the image that the true organ reaches: there the scan, or its labelling, is cut
KINDS = {  # in the order in which they are looked for: a voxel has the first that fits
    "side": "wrong side",
    "missed": "missed piece or organ",
    "extra": "extra piece",
    "cut": "cut by the field of view",
    "other_organ": "confused with another organ",
    "far_beyond": "far beyond the border",
    "far_short": "far short of the border",
    "leak": "leak at the border",
    "short": "short of the border",
}


def lost_voxels(
    prediction: Mask,
    truth: Mask,
    opposite: tuple[Mask, Mask],
    others: tuple[Mask, Mask],
    cut: Mask | None,
    spacing_mm: Triple,
    labelled: tuple[Labelled, Labelled] | None = None,
) -> dict[str, int]:
    """Return the wrong voxels of an organ by their kind, in the order of `KINDS`.

    Wrong side: predicted where the truth is the same organ of the other side, or the reverse. Missed: in a piece of
    the truth that no predicted voxel touches, which may be the whole organ. Extra: in a piece of the prediction that
    no true voxel touches. Cut: near a face of the image that the true organ reaches. Other organ: predicted where
    the truth is another organ, or the reverse. Far: predicted more than `FAR_MM` from the nearest true voxel, or true
    and so far from the nearest predicted one. Leak and short: what is left, beyond and within the border of the truth.

    Args:
        prediction: Of the organ, in the box around both (Z, Y, X).
        truth: Of the organ, in the same box.
        opposite: Prediction and truth of the organ of the other side, in the same box; empty where there is none.
        others: Prediction and truth of all organs that share no voxel with this one, in the same box.
        cut: Voxels of the box near a face that the true organ reaches; None where it reaches none.
        spacing_mm: Voxel spacing (Z, Y, X).
        labelled: `in_pieces` of prediction and truth, where they are known already.
    """
    too_much, too_little = prediction & ~truth, truth & ~prediction
    open_voxels = too_much | too_little
    limits: dict[str, Mask] = {"far_beyond": truth, "far_short": prediction}
    predicted_opposite, true_opposite = opposite
    predicted_others, true_others = others
    pieces, true_pieces = labelled or (in_pieces(prediction), in_pieces(truth))
    regions = {
        "side": (too_much & true_opposite) | (too_little & predicted_opposite),
        "missed": _untouched(truth, prediction, true_pieces),
        "extra": _untouched(prediction, truth, pieces),
        "cut": np.zeros_like(open_voxels) if cut is None else cut,
        "other_organ": (too_much & true_others) | (too_little & predicted_others),
        "far_beyond": too_much,
        "far_short": too_little,
        "leak": too_much,
        "short": too_little,
    }
    counts = {}
    for kind in KINDS:
        of_kind = open_voxels & regions[kind]
        if kind in limits:
            of_kind = _far(of_kind, limits[kind], spacing_mm)
        counts[kind] = int(np.count_nonzero(of_kind))
        open_voxels &= ~of_kind
    return counts


def near_faces(truth_box: Box | None, box: Box, shape: tuple[int, ...], spacing_mm: Triple) -> Mask | None:
    """Return the voxels of `box` within `EDGE_MM` of a face of the image that the true organ reaches, if any."""
    if truth_box is None:
        return None
    near = np.zeros([part.stop - part.start for part in box], dtype=bool)
    reached = False
    for axis, (part, true, size, step_mm) in enumerate(zip(box, truth_box, shape, spacing_mm, strict=True)):
        if size == 1:  # a single slice has no side along its normal
            continue
        from_low = np.arange(part.start, part.stop)
        for reaches, steps in ((true.start == 0, from_low), (true.stop == size, size - 1 - from_low)):
            if reaches:
                within: npt.NDArray[np.bool_] = steps * step_mm < EDGE_MM
                near |= within.reshape([-1 if a == axis else 1 for a in range(3)])
                reached = True
    return near if reached else None


def _far(voxels: Mask, mask: Mask, spacing_mm: Triple) -> Mask:
    """Return those of some voxels (Z, Y, X) outside a mask that are more than `FAR_MM` from its nearest voxel."""
    far = np.zeros_like(voxels)
    places = np.argwhere(voxels)
    if not len(places):
        return far
    depth, height, width = mask.shape
    border = border_mm(mask, 1, (slice(0, depth), slice(0, height), slice(0, width)), spacing_mm)
    tree = cKDTree(border, leafsize=LEAF, compact_nodes=False, balanced_tree=False)
    nearest_mm, _ = tree.query(places * np.array(spacing_mm), distance_upper_bound=FAR_MM + ROUNDING_MM)
    far[tuple(places[np.isinf(nearest_mm)].T)] = True
    return far


def _untouched(mask: Mask, other: Mask, labelled: Labelled) -> Mask:
    """Return the pieces of a mask that no voxel of another one lies in."""
    if not (mask & other).any():
        return mask
    pieces, count = labelled
    if count < 2:
        return np.zeros_like(mask)
    alone = np.ones(count + 1, dtype=bool)
    alone[pieces[other]] = False
    alone[0] = False
    return np.asarray(alone[pieces])
