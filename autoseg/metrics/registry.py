"""What the metrics of scores.csv are called, what they are told in, and which side of them is better."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autoseg.errors import RunError


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is told."""

    name: str  # as in scores.csv
    title: str
    unit: str  # of a value as it is told
    decimals: int
    higher_is_better: bool | None  # None: neither side is

    @property
    def factor(self) -> float:
        """From scores.csv's unit to `unit`: shares from 0 to 1 are told in %."""
        return 100.0 if self.steps == "points" else 1.0

    @property
    def steps(self) -> str:
        """The unit of a difference."""
        return "points" if self.unit == "%" and self.higher_is_better is not None else self.unit


_NSD = re.compile(r"nsd_(\d+(?:\.\d+)?)mm")
_MEASURES = {
    one.name: one
    for one in (
        Metric(name="dice", title="Dice", unit="%", decimals=1, higher_is_better=True),
        Metric(name="iou", title="IoU", unit="%", decimals=1, higher_is_better=True),
        Metric(name="sensitivity", title="Sensitivity", unit="%", decimals=1, higher_is_better=True),
        Metric(name="precision", title="Precision", unit="%", decimals=1, higher_is_better=True),
        Metric(name="hd95_mm", title="HD95", unit="mm", decimals=1, higher_is_better=False),
        Metric(name="hd100_mm", title="Hausdorff distance", unit="mm", decimals=1, higher_is_better=False),
        Metric(name="assd_mm", title="ASSD", unit="mm", decimals=2, higher_is_better=False),
        Metric(name="volume_ml", title="Volume", unit="ml", decimals=1, higher_is_better=None),
        Metric(name="truth_ml", title="True volume", unit="ml", decimals=1, higher_is_better=None),
        Metric(name="volume_difference_ml", title="Volume diff.", unit="ml", decimals=2, higher_is_better=None),
        Metric(name="volume_difference_percent", title="Volume diff.", unit="%", decimals=1, higher_is_better=None),
    )
}


def metric_named(metric: str) -> Metric:
    """Return how a metric is told.

    Raises:
        RunError: If it is not known.

    >>> metric_named("nsd_2mm").title, metric_named("hd95_mm").higher_is_better, metric_named("dice").factor
    ('NSD at 2 mm', False, 100.0)
    """
    if nsd := _NSD.fullmatch(metric):
        return Metric(name=metric, title=f"NSD at {nsd[1]} mm", unit="%", decimals=1, higher_is_better=True)
    if metric in _MEASURES:
        return _MEASURES[metric]
    raise _unfit(metric)


def comparable_metric(metric: str) -> Metric:
    """Return how a metric is told of which a side is better.

    Raises:
        RunError: If none is, as a volume has none, or it is not known.
    """
    measure = metric_named(metric)
    if measure.higher_is_better is None:
        raise _unfit(metric)
    return measure


def _unfit(metric: str) -> RunError:
    sided = [one.name for one in _MEASURES.values() if one.higher_is_better is not None]
    known = ", ".join([*sided, "nsd_2mm (the tolerance of evaluate)"])
    return RunError(f"--metric {metric}: is not one of which a side is better; compare {known}")
