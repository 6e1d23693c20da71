"""Two stages beside each other: what the second look gains in each of its organs, and what it could gain."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import pandas as pd

from autoseg.evaluation.scores import FIRST_CEILING, FIRST_DICE
from autoseg.evaluation.statistics import by_case, organs_of

COLUMNS = (
    "Organ", "N", "Ceiling, first stage (%)", "Ceiling (%)", "Dice, first stage (%)", "Dice (%)", "Gain (points)",
)  # fmt: skip


def two_stages(scores: pd.DataFrame, splits: Collection[str]) -> pd.DataFrame:
    """Return Dice and ceiling of the first stage alone beside those of both, a row an organ; columns `COLUMNS`.

    Means over the cases in which both have a Dice. No row where there is one stage.
    """
    metrics = (FIRST_CEILING, "ceiling_dice", FIRST_DICE, "dice")
    values = {metric: by_case(scores, metric, splits) for metric in metrics}
    rows: list[list[Any]] = []
    for label, organ in organs_of(scores).items():
        frame = pd.DataFrame({metric: of_label.get(label) for metric, of_label in values.items()}, dtype=float)
        frame = frame.dropna(subset=[FIRST_DICE, "dice"])
        if len(frame):
            means = [100 * float(frame[metric].mean()) for metric in metrics]
            rows.append([organ, len(frame), *means, means[3] - means[2]])
    gains = [row[-1] for row in rows if not math.isnan(row[-1])]
    return pd.DataFrame(rows if gains else [], columns=list(COLUMNS))
