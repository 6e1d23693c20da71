"""Two stages beside each other: what the second look gains in each of its organs, and what it could gain."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd

from autoseg.evaluation.scores import FIRST_CEILING, FIRST_DICE
from autoseg.evaluation.statistics import by_case, organs_of
from autoseg.inference.upsample import Upsampler

COLUMNS = (
    "Organ", "N", "Ceiling, first stage (%)", "Ceiling (%)", "Dice, first stage (%)", "Dice (%)", "Gain (points)",
)  # fmt: skip


Ends = tuple[tuple[int, int], ...]  # of a box: its first voxel and the one behind its last, for each of (Z, Y, X)


@dataclass(frozen=True, kw_only=True)
class SecondLook:
    """Where a second stage looked in a case, and how long each stage took."""

    boxes: tuple[Ends, ...]  # voxels of the image; none: the first stage found nothing to look at
    seconds: tuple[float, ...]

    @classmethod
    def of(cls, noted: Mapping[str, Any]) -> SecondLook:
        """Return a look as it was noted in JSON; earlier versions note one `box`, or none."""
        boxes = noted["boxes"] if "boxes" in noted else [noted["box"]] if noted["box"] else []
        ends = tuple(tuple((int(first), int(behind)) for first, behind in box) for box in boxes)
        return cls(boxes=ends, seconds=tuple(map(float, noted["seconds"])))


def second_look(upsampler: Upsampler) -> SecondLook | None:
    """Return where a second stage looked and how long it took; None where there is one stage."""
    if not upsampler.stage_seconds:
        return None
    boxes = tuple(tuple((part.start, part.stop) for part in box) for box in upsampler.boxes)
    return SecondLook(boxes=boxes, seconds=tuple(round(seconds, 2) for seconds in upsampler.stage_seconds))


def stage_seconds(looks: Collection[SecondLook]) -> pd.DataFrame:
    """Return the seconds that a case took, a row a stage; no row where there is one stage."""
    columns = ["Stage", "N", "Median (s)", "Least (s)", "Most (s)"]
    rows = []
    for name, values in zip(("first", "second"), zip(*(look.seconds for look in looks), strict=True), strict=False):
        rows.append([name, len(values), median(values), min(values), max(values)])
    return pd.DataFrame(rows, columns=columns)


def two_stages(scores: pd.DataFrame, splits: Collection[str]) -> pd.DataFrame:
    """Return Dice and ceiling of the first stage alone beside those of both, a row an organ; columns `COLUMNS`.

    Means over the cases in which both have a Dice. No row where there is one stage.
    """
    metrics = (FIRST_CEILING, "ceiling_dice", FIRST_DICE, "dice")
    values = {metric: by_case(scores, metric, splits) for metric in metrics}
    rows: list[list[Any]] = []
    for label, organ in organs_of(scores).items():
        frame = pd.DataFrame({metric: of_label[label] for metric, of_label in values.items()}, dtype=float)
        frame = frame.dropna(subset=[FIRST_DICE, "dice"])
        if len(frame):
            means = [100 * float(frame[metric].mean()) for metric in metrics]
            rows.append([organ, len(frame), *means, means[3] - means[2]])
    gains = [row[-1] for row in rows if not math.isnan(row[-1])]
    return pd.DataFrame(rows if gains else [], columns=list(COLUMNS))
