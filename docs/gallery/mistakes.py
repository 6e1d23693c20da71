"""Mistakes by kind.

What is missed, what is too much, and where one organ is taken for another.
"""

import numpy as np

from autoseg.figures.errors import errors_figure
from autoseg.figures.planes import CaseArrays
from autoseg.figures.windows import CT_WINDOW_HU
from autoseg.phantom.scan import ORGANS, phantom_case

phantom = phantom_case(seed=0, index=0)
organs = dict(enumerate(ORGANS, start=1))
prediction = np.roll(phantom.label, 2, axis=1)
prediction[prediction == 1 + ORGANS.index("stomach")] = 1 + ORGANS.index("spleen")
case = CaseArrays(phantom.image, phantom.label, prediction, phantom.grid.spacing_mm, organs, CT_WINDOW_HU)
figure = errors_figure(case, "phantom 0")
