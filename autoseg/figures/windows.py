"""Windows: the intensities of a CT that are shown black and white, by what is to be seen."""

from __future__ import annotations

import numpy as np

from autoseg.figures.planes import CaseArrays

CT_WINDOW_HU = (-160.0, 240.0)  # soft tissue of the abdomen
BONE_HU, LUNG_HU = (-500.0, 1500.0), (-1350.0, 150.0)
DENSE_HU, THIN_HU = 350.0, -300.0  # median of an organ above which it is shown as bone, below which as lung


def ct_window(case: CaseArrays, focus: int | None) -> tuple[float, float] | None:
    """Return the HU to show black and white for an organ, by its median in the truth; None where the image is no CT.

    Args:
        case: A CT has a window.
        focus: Label value of the organ; None: soft tissue.
    """
    if case.window is None or focus is None or case.truth is None or not (inside := case.truth == focus).any():
        return case.window
    median = float(np.median(case.image[inside]))
    return BONE_HU if median >= DENSE_HU else LUNG_HU if median <= THIN_HU else case.window
