"""Surfaces.

Truth beside prediction, seen from the patient's front, as in Figure 5 of Roth et al. 2018.
"""

from scipy.ndimage import median_filter

from autoseg.figures.surfaces import surfaces_figure
from autoseg.phantom.scan import ORGANS, phantom_case

phantom = phantom_case(seed=0, index=1)
prediction = median_filter(phantom.label, size=3)
figure = surfaces_figure(phantom.label, prediction, phantom.grid.spacing_mm, dict(enumerate(ORGANS, start=1)))
