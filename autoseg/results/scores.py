"""Scores, long: one row a fold, case, organ, metric and grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoseg.errors import AutosegError, CasesFailedError, RunError, VolumeError
from autoseg.files import appearing
from autoseg.grid import Triple, corner_distance_mm
from autoseg.metrics import hd95_by_label, overlap
from autoseg.plan import Label
from autoseg.volumes import IMAGE_SUFFIXES, read_label, strip_suffix
from autoseg.workers import Track, each, untracked

COLUMNS = ("fold", "case", "split", "organ", "label", "metric", "value", "grid")
Row = dict[str, Any]


def score_rows(
    prediction: npt.NDArray[np.integer[Any]],
    truth: npt.NDArray[np.integer[Any]],
    labels: Sequence[Label],
    spacing_mm: Triple,
    about: Mapping[str, Any],
) -> list[Row]:
    """Return the rows of one case on one grid.

    Args:
        prediction: Label values (Z, Y, X).
        truth: Likewise.
        labels: Organs to score.
        spacing_mm: (Z, Y, X).
        about: The columns fold, case, split and grid.
    """
    values = [organ.value for organ in labels]
    counts = overlap(prediction, truth, values)
    distances = hd95_by_label(prediction, truth, values, spacing_mm)
    rows = []
    for organ in labels:
        found = counts[organ.value]
        scores = {"dice": found.dice, "hd95_mm": distances[organ.value], "missed": int(found.missed)}
        named = {**about, "organ": organ.name, "label": organ.value}
        rows += [{**named, "metric": metric, "value": value} for metric, value in scores.items()]
    return rows


def write_scores(rows: Sequence[Row], file: Path) -> None:
    """Write scores.csv atomically; undefined values stay blank."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    with appearing(file) as beside:
        frame.to_csv(beside, index=False, float_format="%.6g")


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
    return frame


def score_folders(predictions: Path, references: Path, jobs: int, track: Track = untracked) -> list[Row]:
    """Score the masks of one folder against those of the same name in another.

    Raises:
        RunError: If a folder is missing or no names match.
        PartlyScoredError: When all others are done, if some pairs could not be scored; it keeps the rows.
    """
    found, wanted = _masks(predictions), _masks(references)
    pairs = {name: (found[name], file) for name, file in wanted.items() if name in found}
    if not pairs:
        raise RunError(f"{predictions}: no mask has the name of one in {references}; give two folders of equal names")
    failed: dict[str, str] = {
        name: f"{file}: has no prediction in {predictions}" for name, file in wanted.items() if name not in found
    }
    values: set[int] = set()
    for name, result in track(each(_values_of, pairs, jobs), "Reading", len(pairs)):
        if isinstance(result, AutosegError):
            failed[name] = str(result)
            continue
        values |= result
    labels = tuple(Label(value=v, name=f"label {v}") for v in sorted(values - {0}))
    rows: list[Row] = []
    good = {name: (name, *pair, labels) for name, pair in pairs.items() if name not in failed}
    for name, scored in track(each(_score_pair, good, jobs), "Scoring", len(good)):
        if isinstance(scored, AutosegError):
            failed[name] = str(scored)
        else:
            rows += scored
    if failed:
        raise PartlyScoredError(rows, failed)
    return sorted(rows, key=lambda row: (row["case"], row["label"]))


class PartlyScoredError(CasesFailedError):
    """Some pairs could not be scored; the rows of the others are kept."""

    def __init__(self, rows: list[Row], causes: dict[str, str]) -> None:
        """Keep the rows of the scored cases."""
        super().__init__("score", causes, done=len({row["case"] for row in rows}))
        self.rows = rows


def _masks(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such folder; give two folders of masks ({', '.join(IMAGE_SUFFIXES)})")
    return {name: p for p in sorted(folder.iterdir()) if (name := strip_suffix(p)) and not name.startswith(".")}


def _values_of(pair: tuple[Path, Path]) -> set[int]:
    return {int(v) for file in pair for v in np.unique(read_label(file).array)}


def _score_pair(work: tuple[str, Path, Path, tuple[Label, ...]]) -> list[Row]:
    name, prediction_file, reference_file, labels = work
    prediction, truth = read_label(prediction_file), read_label(reference_file)
    apart = corner_distance_mm(prediction.grid, truth.grid)
    if apart > 0.5 * min(truth.grid.spacing_mm):
        raise VolumeError(
            f"{prediction_file}: its grid {prediction.grid.shape} lies {apart:.1f} mm off its reference's "
            f"{truth.grid.shape}; resample it first"
        )
    about = {"fold": 0, "case": name, "split": "testing", "grid": "original"}
    return score_rows(prediction.array, truth.array, labels, truth.grid.spacing_mm, about)
