"""Scores, long: one row a fold, case, organ, metric and grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoseg.dataset.split import SIDES
from autoseg.errors import RunError
from autoseg.files import atomic_path
from autoseg.imaging.grid import Triple
from autoseg.labels import Label
from autoseg.metrics import TOLERANCE_MM
from autoseg.metrics.overlap import Overlap, overlap
from autoseg.metrics.surface import SurfaceDistances, surface_distances

COLUMNS = ("fold", "case", "split", "organ", "label", "metric", "value", "grid")
MM3_PER_ML = 1000.0
GRIDS = ("original", "working")
SHARES = ("dice", "iou", "sensitivity", "precision", "expected_dice", "ceiling_dice")  # from 0 to 1
ROUNDING = 1e-6
Row = dict[str, Any]


def score_rows(
    prediction: npt.NDArray[np.integer[Any]],
    truth: npt.NDArray[np.integer[Any]],
    labels: Sequence[Label],
    spacing_mm: Triple,
    about: Mapping[str, Any],
    tolerance_mm: float = TOLERANCE_MM,
    threads: int = 1,
) -> list[Row]:
    """Return the rows of one case on one grid.

    Args:
        prediction: Label values (Z, Y, X).
        truth: Likewise.
        labels: Organs to score.
        spacing_mm: (Z, Y, X).
        about: The columns fold, case, split and grid.
        tolerance_mm: Of the normalised surface Dice.
        threads: Organs measured at the same time.
    """
    values = [organ.value for organ in labels]
    counts = overlap(prediction, truth, values)
    distances = surface_distances(prediction, truth, values, spacing_mm, threads)
    voxel_ml = float(np.prod(spacing_mm)) / MM3_PER_ML
    rows = []
    for organ in labels:
        found = counts[organ.value]
        scores = {**_overlaps(found, voxel_ml), **_distances(distances[organ.value], found, tolerance_mm)}
        named = {**about, "organ": organ.name, "label": organ.value}
        rows += [{**named, "metric": metric, "value": value} for metric, value in scores.items()]
    return rows


def nsd_name(tolerance_mm: float) -> str:
    """Return the name of the metric NSD at a tolerance.

    >>> nsd_name(2.0), nsd_name(0.5)
    ('nsd_2mm', 'nsd_0.5mm')
    """
    return f"nsd_{tolerance_mm:g}mm"


def write_scores(rows: Sequence[Row], file: Path) -> None:
    """Write scores.csv atomically; undefined values stay blank."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    with atomic_path(file) as beside:
        frame.to_csv(beside, index=False, float_format="%.9g")


def read_scores(file: Path) -> pd.DataFrame:
    """Read scores.csv.

    Raises:
        RunError: If it is missing or has other columns.
    """
    try:
        frame = pd.read_csv(
            file,
            dtype={"case": str, "organ": str, "split": str, "grid": str},
            keep_default_na=False,
            na_values={"value": [""]},
        )
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: no readable scores ({error}); run `autoseg evaluate RUN` first") from error
    missing = [c for c in COLUMNS if c not in frame.columns]
    if missing:
        raise RunError(f"{file}: not a scores file (no columns {', '.join(missing)}); run `autoseg evaluate RUN` again")
    return _sound(frame, file)


def _sound(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Return the frame with its values as numbers.

    Raises:
        RunError: If a cell is not what its column holds, or a row repeats another; the text names the line.
    """
    numbers = {name: pd.to_numeric(frame[name], errors="coerce") for name in ("value", "label", "fold")}
    shares = frame["metric"].isin(SHARES) | frame["metric"].str.startswith("nsd_")
    value = numbers["value"].astype(float)
    whole = {name: numbers[name].notna() & (numbers[name] % 1 == 0) for name in ("label", "fold")}
    wrong = {
        "value, which is not a number": ("value", value.isna() & frame["value"].notna()),
        "value, which is infinite": ("value", value.abs() == math.inf),
        "value of a metric from 0 to 1": ("value", shares & ~value.fillna(0.0).between(0.0, 1.0 + ROUNDING)),
        "label, which is not a whole number": ("label", ~whole["label"]),
        "fold, which is not a whole number": ("fold", ~whole["fold"]),
        f"split, which is none of {', '.join(SIDES)}": ("split", ~frame["split"].isin(SIDES)),
        f"grid, which is none of {', '.join(GRIDS)}": ("grid", ~frame["grid"].isin(GRIDS)),
        "row, which repeats another": ("case", frame.duplicated(["fold", "case", "label", "metric", "grid"])),
    }
    for what, (column, bad) in wrong.items():
        if bad.any():
            row = int(bad.to_numpy().argmax())
            raise RunError(
                f"{file}: line {row + 2}: {str(frame[column].iloc[row])!r} stands for a {what}; correct it, or run "
                "`autoseg evaluate RUN` again"
            )
    return frame.assign(value=value, label=numbers["label"].astype(int), fold=numbers["fold"].astype(int))


def _overlaps(found: Overlap, voxel_ml: float) -> dict[str, float | int | None]:
    absent = not found.truth and not found.prediction
    apart = found.prediction - found.truth
    return {
        "dice": found.dice,
        "iou": found.iou,
        "sensitivity": found.sensitivity,
        "precision": found.precision,
        "volume_ml": found.prediction * voxel_ml,
        "truth_ml": found.truth * voxel_ml,
        "volume_difference_ml": None if absent else apart * voxel_ml,
        "volume_difference_percent": 100.0 * apart / found.truth if found.truth else None,
        "missed": int(found.missed),
    }


def _distances(found: SurfaceDistances | None, counts: Overlap, tolerance_mm: float) -> dict[str, float | None]:
    if found is None:  # with one mask empty no part of the other's surface is near: NSD 0, and no distance at all
        one_is_empty = bool(counts.truth or counts.prediction)
        distances = dict.fromkeys(("hd95_mm", "hd100_mm", "assd_mm"))
        return {nsd_name(tolerance_mm): 0.0 if one_is_empty else None, **distances}
    return {
        nsd_name(tolerance_mm): found.share_within(tolerance_mm),
        "hd95_mm": found.hausdorff_mm(95),
        "hd100_mm": found.hausdorff_mm(100),
        "assd_mm": found.average_mm,
    }
