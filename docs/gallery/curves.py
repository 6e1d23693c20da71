"""Learning curves.

Loss, and the Dice of validation and testing cases, from the columns of a log.csv; here the numbers are invented.
"""

import numpy as np
import pandas as pd

from autoseg.figures.curves import curves_figure

iterations = np.arange(1, 401)
rng = np.random.default_rng(0)
log = pd.DataFrame({"iteration": iterations, "loss": 1.6 * np.exp(-iterations / 90) + rng.normal(0, 0.04, 400)})
examined = iterations % 20 == 0
for organ, reached in {"liver": 0.95, "pancreas": 0.78}.items():
    for split, lost in {"validation": 0.0, "testing": 0.02}.items():
        dice = (reached - lost) * (1 - np.exp(-iterations / 100)) + rng.normal(0, 0.008, 400)
        log[f"dice_{split}_{organ}"] = np.where(examined, dice, np.nan)
figure = curves_figure(log, ["liver", "pancreas"], {"validation": 4, "testing": 4})
