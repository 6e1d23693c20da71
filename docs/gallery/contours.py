"""Contours of truth and prediction.

Three planes through the organs of a phantom; the prediction is the truth, moved by a voxel and without the spleen.
"""

import numpy as np

from autoseg.figures.overlays import overlay_figure
from autoseg.figures.planes import CaseArrays
from autoseg.figures.windows import CT_WINDOW_HU
from autoseg.phantom.scan import ORGANS, phantom_case

phantom = phantom_case(seed=0, index=0)
organs = dict(enumerate(ORGANS, start=1))
prediction = np.roll(phantom.label, 1, axis=2)
prediction[prediction == 1 + ORGANS.index("spleen")] = 0
case = CaseArrays(phantom.image, phantom.label, prediction, phantom.grid.spacing_mm, organs, CT_WINDOW_HU)
figure = overlay_figure(case, "phantom 0")
