"""What a metric of scores.csv is called, what it is counted in, and which side of it is better."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autoseg.errors import RunError

_SHARES = {"dice": "Dice", "iou": "IoU", "sensitivity": "Sensitivity", "precision": "Precision"}
_DISTANCES = {"hd95_mm": "HD95", "hd100_mm": "Hausdorff distance", "assd_mm": "ASSD"}
_NSD = re.compile(r"nsd_(\d+(?:\.\d+)?)mm")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a metric is told."""

    name: str  # as in scores.csv
    title: str
    factor: float  # from scores.csv's unit to `unit`
    unit: str  # of a value
    steps: str  # unit of a difference
    higher_is_better: bool


def measure_of(metric: str) -> Measure:
    """Return how a metric is told.

    Raises:
        RunError: If it has no better side, as a volume has none, or is not known.

    >>> measure_of("nsd_2mm").title, measure_of("hd95_mm").higher_is_better
    ('NSD at 2 mm', False)
    """
    nsd = _NSD.fullmatch(metric)
    title = f"NSD at {nsd[1]} mm" if nsd else _SHARES.get(metric)
    if title is not None:
        return Measure(name=metric, title=title, factor=100, unit="%", steps="points", higher_is_better=True)
    if metric in _DISTANCES:
        title = _DISTANCES[metric]
        return Measure(name=metric, title=title, factor=1, unit="mm", steps="mm", higher_is_better=False)
    known = ", ".join([*_SHARES, "nsd_2mm (the tolerance of evaluate)", *_DISTANCES])
    raise RunError(f"--metric {metric}: is not one of which a side is better; compare {known}")
