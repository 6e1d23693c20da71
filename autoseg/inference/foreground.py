"""Where in a CT there is something to see: air around the body need not go through the network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.imaging.resample import Box
from autoseg.plan import Plan

MARGIN = 8  # voxels of the working grid that are kept around the body
ABOVE_FLOOR = 0.05  # of the normalised intensities: less is the floor that everything below the window was clipped to


def foreground_box(image: npt.NDArray[np.floating], plan: Plan) -> Box:
    """Return the box of the working grid outside of which every CT channel is at its floor.

    An image that has a channel other than CT, or nothing above the floor, is kept whole.

    Args:
        image: Normalised, on the working grid, (C, Z, Y, X).
        plan: Its intensities say what the floor is.
    """
    whole = (slice(0, image.shape[1]), slice(0, image.shape[2]), slice(0, image.shape[3]))
    if any(how.kind != "ct" for how in plan.intensity):
        return whole
    seen = np.zeros(image.shape[1:], dtype=np.uint8)
    for channel, how in zip(image, plan.intensity, strict=True):
        seen |= channel > how.pad_value + ABOVE_FLOOR
    (box,) = ndimage.find_objects(seen) or (None,)
    if box is None:
        return whole
    sizes: tuple[int, ...] = seen.shape
    z, y, x = (slice(max(0, s.start - MARGIN), min(n, s.stop + MARGIN)) for s, n in zip(box, sizes, strict=True))
    return z, y, x
