"""The metrics of scores.csv, each as one value: its name, how it is printed, which side is better, how it is computed.

Their order is that of the rows of a case and organ. A new metric is one more value here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from autoseg.dataset.names import is_tubular
from autoseg.errors import RunError
from autoseg.metrics import TOLERANCE_MM
from autoseg.metrics.cldice import cldice
from autoseg.metrics.loss_kinds import KINDS
from autoseg.metrics.pair import OrganPair
from autoseg.metrics.pieces import Pieces
from autoseg.metrics.surface import SurfaceDistances

Compute = Callable[[OrganPair], float | None]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measure of the agreement between prediction and truth, or a number to read one against."""

    name: str  # as in scores.csv
    title: str
    unit: str  # of a value as printed
    decimals: int
    range: tuple[float, float] = (0.0, math.inf)  # of a value in scores.csv
    higher_is_better: bool | None = None  # None: neither side is
    compute: Compute | None = None  # None: evaluation computes it from other inputs
    family: str = ""  # what metrics with another parameter in their names have in common
    in_table: bool = True  # whether the wide table of all metrics has a column of it
    case_column: int | None = None  # its place in the table of one case; None: it is not there
    note: str = ""  # a sentence below the wide table
    only_for: Callable[[str], bool] | None = None  # by the organ's name; None: for every organ
    original_only: bool = False  # not computed on the working grid

    @property
    def factor(self) -> float:
        """Factor from the unit of scores.csv to `unit`: shares from 0 to 1 are printed in %."""
        return 100.0 if self.unit == "%" and self.range == SHARE else 1.0

    @property
    def difference_unit(self) -> str:
        """The unit of a difference."""
        return "points" if self.factor == 100.0 else self.unit

    def applies_to(self, organ: str) -> bool:
        """Return whether the metric is computed for an organ of this name."""
        return self.only_for is None or self.only_for(organ)


SHARE = (0.0, 1.0)
NSD = "nsd"


def nsd(tolerance_mm: float) -> Metric:
    """Return the metric normalised surface Dice at a tolerance, which is part of its name.

    With one mask empty no part of the other's surface is near: 0.
    """

    def compute(pair: OrganPair) -> float | None:
        if pair.distances is None:
            return 0.0 if pair.is_in_one else None
        return pair.distances.share_within(tolerance_mm)

    return Metric(
        name=f"{NSD}_{tolerance_mm:g}mm", title=f"NSD at {tolerance_mm:g} mm", unit="%", decimals=1, range=SHARE,
        higher_is_better=True, compute=compute, family=NSD, case_column=2,
        note="NSD: share of both surfaces within the tolerance.",
    )  # fmt: skip


def _volume_difference(pair: OrganPair) -> float | None:
    absent = not pair.overlap.truth and not pair.overlap.prediction
    return None if absent else (pair.overlap.prediction - pair.overlap.truth) * pair.voxel_ml


def _relative_difference(pair: OrganPair) -> float | None:
    counts = pair.overlap
    return 100.0 * (counts.prediction - counts.truth) / counts.truth if counts.truth else None


def _of_surfaces(measure: Callable[[SurfaceDistances], float]) -> Compute:
    """Return the computation of a distance between surfaces, None where one mask is empty."""
    return lambda pair: None if pair.distances is None else measure(pair.distances)


def _lost(kind: str) -> Metric:
    """Return the metric of the Dice that wrong voxels of one kind cost."""
    return Metric(
        name=f"lost_{kind}", title=f"Lost: {KINDS[kind]}", unit="%", decimals=1, range=SHARE, in_table=False,
        original_only=True, compute=lambda pair: None if pair.lost is None else pair.lost[kind],
    )  # fmt: skip


def _of_pieces(name: str, title: str, count: Callable[[Pieces], int]) -> Metric:
    """Return the metric that counts some of an organ's pieces."""
    return Metric(
        name=name, title=title, unit="", decimals=0, in_table=False, original_only=True,
        compute=lambda pair: None if pair.pieces is None else count(pair.pieces),
    )  # fmt: skip


def _of_all_pieces(name: str, title: str, measure: Callable[[Pieces], float]) -> Metric:
    """Return the metric that is a share over all pieces of an organ."""
    return Metric(
        name=name, title=title, unit="%", decimals=1, range=SHARE, higher_is_better=True, in_table=False,
        original_only=True, compute=lambda pair: None if pair.pieces is None else measure(pair.pieces),
    )  # fmt: skip


def _hd95_or_diagonal(pair: OrganPair) -> float | None:
    if pair.distances is not None:
        return pair.distances.hausdorff_mm(95)
    return pair.diagonal_mm if pair.is_in_one else None


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            name="dice", title="Dice", unit="%", decimals=1, range=SHARE, higher_is_better=True, case_column=1,
            compute=lambda pair: pair.overlap.dice,
        ),
        Metric(
            name="iou", title="IoU", unit="%", decimals=1, range=SHARE, higher_is_better=True,
            compute=lambda pair: pair.overlap.iou,
        ),
        Metric(
            name="sensitivity", title="Sensitivity", unit="%", decimals=1, range=SHARE, higher_is_better=True,
            compute=lambda pair: pair.overlap.sensitivity,
        ),
        Metric(
            name="precision", title="Precision", unit="%", decimals=1, range=SHARE, higher_is_better=True,
            compute=lambda pair: pair.overlap.precision,
        ),
        Metric(
            name="volume_ml", title="Prediction", unit="ml", decimals=2, in_table=False, case_column=6,
            compute=lambda pair: pair.overlap.prediction * pair.voxel_ml,
        ),
        Metric(
            name="truth_ml", title="Truth", unit="ml", decimals=2, in_table=False, case_column=5,
            compute=lambda pair: pair.overlap.truth * pair.voxel_ml,
        ),
        Metric(
            name="volume_difference_ml", title="Volume diff.", unit="ml", decimals=2, range=(-math.inf, math.inf),
            in_table=False, compute=_volume_difference,
        ),
        Metric(
            name="volume_difference_percent", title="Volume diff.", unit="%", decimals=1, range=(-100.0, math.inf),
            note="Volume difference: prediction − reference, in % of the reference.", compute=_relative_difference,
        ),
        Metric(
            name="missed", title="Missed", unit="", decimals=0, range=SHARE, in_table=False,
            compute=lambda pair: int(pair.overlap.missed),
        ),
        nsd(TOLERANCE_MM),
        Metric(
            name="hd95_mm", title="HD95", unit="mm", decimals=1, higher_is_better=False, case_column=3,
            note="HD95, ASSD: over cases where reference and prediction both have the organ.",
            compute=_of_surfaces(lambda distances: distances.hausdorff_mm(95)),
        ),
        Metric(
            name="hd100_mm", title="Hausdorff distance", unit="mm", decimals=1, higher_is_better=False, in_table=False,
            compute=_of_surfaces(lambda distances: distances.hausdorff_mm(100)),
        ),
        Metric(
            name="assd_mm", title="ASSD", unit="mm", decimals=2, higher_is_better=False, case_column=4,
            compute=_of_surfaces(lambda distances: distances.average_mm),
        ),
        Metric(
            name="cldice", title="clDice", unit="%", decimals=1, range=SHARE, higher_is_better=True,
            only_for=is_tubular, case_column=8, compute=cldice,
            note="clDice: of tubular organs, by their centre lines.",
        ),
        Metric(
            name="hd95_all_mm", title="HD95 with misses", unit="mm", decimals=1, in_table=False, original_only=True,
            compute=_hd95_or_diagonal,
        ),
        *(_lost(kind) for kind in KINDS),
        _of_pieces("pieces_true", "Pieces of the truth", lambda pieces: pieces.true),
        _of_pieces("pieces_missed", "Missed pieces", lambda pieces: pieces.missed),
        _of_pieces("pieces_invented", "Invented pieces", lambda pieces: pieces.invented),
        _of_all_pieces("pieces_f1", "F1 of pieces", lambda pieces: pieces.f1),
        _of_all_pieces("pieces_dice", "Lesion-wise Dice", lambda pieces: pieces.dice),
        Metric(
            name="expected_dice", title="Expected Dice", unit="%", decimals=1, range=SHARE, in_table=False,
            case_column=7,
        ),
        Metric(name="ceiling_dice", title="Ceiling", unit="%", decimals=1, range=SHARE, in_table=False),
        Metric(
            name="first_stage_dice", title="Dice of the first stage", unit="%", decimals=1, range=SHARE, in_table=False,
        ),
        Metric(
            name="first_stage_ceiling", title="Ceiling of the first stage", unit="%", decimals=1, range=SHARE,
            in_table=False,
        ),
    )
}  # fmt: skip
_NSD = re.compile(rf"{NSD}_(\d+(?:\.\d+)?)mm")


def computed_metrics(organ: str, tolerance_mm: float, grid: str = "original") -> list[tuple[Metric, Compute]]:
    """Return the metrics to compute for an organ of this name on a grid, in row order, with NSD at a tolerance."""
    metrics = (nsd(tolerance_mm) if metric.family == NSD else metric for metric in METRICS.values())
    return [
        (metric, metric.compute)
        for metric in metrics
        if metric.compute is not None and metric.applies_to(organ) and (grid == "original" or not metric.original_only)
    ]


def nsd_name(tolerance_mm: float) -> str:
    """Return the name of the metric NSD at a tolerance.

    >>> nsd_name(2.0), nsd_name(0.5)
    ('nsd_2mm', 'nsd_0.5mm')
    """
    return nsd(tolerance_mm).name


def known_metric(name: str) -> Metric | None:
    """Return the metric of a name; None where it is unknown, as of another program."""
    if match := _NSD.fullmatch(name):
        return nsd(float(match[1]))
    return METRICS.get(name)


def metric_named(name: str) -> Metric:
    """Return the metric of a name.

    Raises:
        RunError: If it is unknown.

    >>> metric_named("nsd_4mm").title, metric_named("hd95_mm").higher_is_better, metric_named("dice").factor
    ('NSD at 4 mm', False, 100.0)
    """
    metric = known_metric(name)
    if metric is None:
        raise _unfit(name)
    return metric


def comparable_metric(name: str) -> Metric:
    """Return the metric of a name, provided that higher or lower values are better.

    Raises:
        RunError: If neither is better, as for a volume, or the metric is unknown.
    """
    metric = metric_named(name)
    if metric.higher_is_better is None:
        raise _unfit(name)
    return metric


def _unfit(name: str) -> RunError:
    sided = [metric for metric in METRICS.values() if metric.higher_is_better is not None]
    names = [metric.name for metric in sided if not metric.family]
    names += [f"{metric.name} (the tolerance of evaluate)" for metric in sided if metric.family]
    why = "is not one of which a side is better" if name in METRICS else "there is no such metric"
    return RunError(f"--metric {name}: {why}; compare {', '.join(names)}")
