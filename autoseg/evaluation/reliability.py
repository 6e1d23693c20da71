"""How well a network's probabilities are calibrated: reliability.csv, the curve, and the expected calibration error."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from autoseg.errors import RunError
from autoseg.evaluation.scores import Row
from autoseg.labels import Label
from autoseg.sheet import write_rows
from autoseg.words import shortened

COLUMNS = ("fold", "case", "split", "organ", "label", "bin", "voxels", "true_voxels", "probability")
CALIBRATION = ("Organ", "Voxels (thousands)", "Mean probability (%)", "True (%)", "ECE (%)")
CURVE = ("bin", "voxels", "probability", "true")
FIRST_BIN = 1  # that calibration counts: nearly all voxels are background, and would hide all others


def reliability_rows(organ: Label, counts: Any, about: Row) -> list[Row]:
    """Return the rows of one organ of a case: one for each bin that has a voxel.

    Args:
        organ: The organ.
        counts: (BINS, 3): voxels, true ones, sum of the probabilities.
        about: The columns fold, case and split.
    """
    return [
        {
            **{key: about[key] for key in ("fold", "case", "split")},
            "organ": organ.name,
            "label": organ.value,
            "bin": place,
            "voxels": int(voxels),
            "true_voxels": int(true),
            "probability": total / voxels,
        }
        for place, (voxels, true, total) in enumerate(counts.tolist())
        if voxels
    ]


def write_reliability(rows: Iterable[Row], file: Path, anew: bool = True) -> None:
    """Write reliability.csv atomically, anew or below the rows that it has."""
    write_rows(rows, COLUMNS, file, digits=6, anew=anew)


def read_reliability(file: Path) -> pd.DataFrame:
    """Read reliability.csv; no row where it is missing, as of an earlier evaluation.

    Raises:
        RunError: If it is damaged.
    """
    if not file.is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    try:
        texts = ("case", "organ", "split")
        frame = pd.read_csv(file, dtype=dict.fromkeys(texts, str), keep_default_na=False)
        numbers = dict.fromkeys(("voxels", "true_voxels", "probability"), float)
        return frame[list(COLUMNS)].astype({**dict.fromkeys(texts, "category"), **numbers})
    except (OSError, ValueError, KeyError) as error:
        cause = shortened(error, 200)
        raise RunError(f"{file}: is damaged ({cause}); remove it and run `autoseg evaluate RUN` again") from error


def curve(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the reliability curve over all rows: columns `CURVE`, a row a bin that has a voxel.

    `probability` is the mean in the bin, `true` the share of its voxels that are of the organ.
    """
    totals = counts.assign(total=counts["probability"] * counts["voxels"])
    table = totals.groupby("bin")[["voxels", "true_voxels", "total"]].sum().reset_index()
    means = table.assign(probability=table["total"] / table["voxels"], true=table["true_voxels"] / table["voxels"])
    return means[list(CURVE)]


def calibration_error(points: pd.DataFrame) -> float:
    """Return the expected calibration error of a curve: the mean gap of its bins, weighted by their voxels.

    Source: Naeini et al. 2015, Obtaining well calibrated probabilities using Bayesian binning.
    """
    gap = (points["true"] - points["probability"]).abs()
    return float((gap * points["voxels"]).sum() / points["voxels"].sum())


def calibration(counts: pd.DataFrame, splits: Collection[str]) -> pd.DataFrame:
    """Return how well the probabilities of each organ are calibrated over the cases of some splits; `CALIBRATION`.

    Only voxels count to which the network gives the organ at least a tenth.
    """
    rows = []
    counted = counts[counts["split"].isin(list(splits)) & (counts["bin"] >= FIRST_BIN)]
    for organ, of_organ in counted.groupby("organ", sort=False, observed=True):
        points = curve(of_organ)
        voxels = points["voxels"]
        mean, true = (float((points[name] * voxels).sum() / voxels.sum()) for name in ("probability", "true"))
        rows.append([str(organ), float(voxels.sum()) / 1000, 100 * mean, 100 * true, 100 * calibration_error(points)])
    return pd.DataFrame(rows, columns=list(CALIBRATION))
