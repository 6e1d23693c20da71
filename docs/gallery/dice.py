"""Dice of every case.

One point a case, training beside testing; here the numbers are drawn at random.
"""

import numpy as np

from autoseg.figures.boxes import boxes_figure

rng = np.random.default_rng(0)
means = {"liver": 40, "spleen": 30, "pancreas": 7}
sets = {
    name: {organ: list(rng.beta(mean, 2, size)) for organ, mean in means.items()}
    for name, size in {"training": 40, "testing": 12}.items()
}
figure = boxes_figure(sets)
