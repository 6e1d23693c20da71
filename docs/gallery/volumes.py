"""Agreement of volumes.

Bland-Altman plots: predicted minus true volume against their mean, with bias and limits of agreement; invented numbers.
"""

import numpy as np

from autoseg.figures.agreement import agreement_figure

rng = np.random.default_rng(0)
liver_ml, spleen_ml = rng.normal(1500, 250, 20), rng.normal(220, 60, 20)
figure = agreement_figure(
    {
        "liver": (list(liver_ml), list(liver_ml + rng.normal(-15, 30, 20))),
        "spleen": (list(spleen_ml), list(spleen_ml + rng.normal(2, 8, 20))),
    }
)
