"""clDice: the overlap of tubular structures along the centre lines of prediction and truth."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from autoseg.labels import Mask
from autoseg.metrics.pair import OrganPair

_TOUCHING = np.ones((3, 3, 3))  # voxels that share a corner are connected


def cldice(pair: OrganPair) -> float | None:
    """Return the harmonic mean of topology precision and topology sensitivity, 0 to 1.

    Topology precision is the share of the prediction's skeleton in the truth, topology sensitivity that of the
    truth's skeleton in the prediction. As for Dice: None where the organ is in neither, 0 where it is in only one.
    None, too, where the truth is not known everywhere: a cut organ has other centre lines.

    Source: Shit et al. 2021, clDice: a novel topology-preserving loss function for tubular structure segmentation.
    """
    if pair.ignored is not None or (not pair.overlap.truth and not pair.overlap.prediction):
        return None
    if not pair.overlap.both:
        return 0.0
    prediction, truth = pair.masks
    precision = float(truth[skeleton(prediction)].mean())
    sensitivity = float(prediction[skeleton(truth)].mean())
    return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def skeleton(mask: Mask) -> Mask:
    """Return the voxels of a mask's centre lines (Z, Y, X); every connected part has at least one.

    Thinning may leave nothing of a part that is only two voxels small or thin: all of its voxels count then.

    Source: Lee et al. 1994, Building skeleton models via 3-D medial surface/axis thinning algorithms.
    """
    lines = skeletonize(mask, method="lee") > 0  # type: ignore[no-untyped-call]
    parts, count = ndimage.label(mask, _TOUCHING)
    lost = np.ones(count + 1, bool)
    lost[parts[lines]] = False
    lost[0] = False
    return np.asarray(lines | lost[parts])
