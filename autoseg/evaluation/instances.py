"""Instances: a row for each piece of an organ, as a lesion, that was found, missed or invented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoseg.evaluation.scores import Row
from autoseg.imaging.boxes import box_around
from autoseg.imaging.grid import Triple
from autoseg.imaging.volumes import Volume
from autoseg.labels import Label
from autoseg.metrics.pair import OrganPair, organ_pairs
from autoseg.metrics.pieces import Piece, each_piece
from autoseg.sheet import write_frame

COLUMNS = ("case", "organ", "label", "piece", "outcome", "truth_ml", "volume_ml", "dice", "iou", "x_mm", "y_mm", "z_mm")


def instance_rows(
    case: str,
    prediction: npt.NDArray[np.integer[Any]],
    truth: Volume,
    organs: Mapping[Label, tuple[int, ...]],
    ignored: int | None = None,
) -> Iterator[Row]:
    """Yield a row for each piece of each organ of a case.

    Args:
        case: Its name.
        prediction: Predicted label map (Z, Y, X).
        truth: True label map, with its grid.
        organs: Each with the values within it.
        ignored: Value of the truth where it is not known: an organ of such a case has no row, as what is cut has other
            pieces.
    """
    labels, grid = {organ.value: values for organ, values in organs.items()}, truth.grid
    pairs = organ_pairs(prediction, truth.array, labels, grid.spacing_mm, ignored=ignored)
    for organ in organs:
        for number, (piece, centre) in enumerate(_pieces(pairs[organ.value]), start=1):
            x, y, z = (grid.matrix() @ (*centre[::-1], 1.0))[:3]
            whole = piece.predicted + piece.true
            yield {
                "case": case,
                "organ": organ.name,
                "label": organ.value,
                "piece": number,
                "outcome": piece.outcome,
                "truth_ml": piece.true * grid.voxel_ml,
                "volume_ml": piece.predicted * grid.voxel_ml,
                "dice": 2 * piece.shared / whole,
                "iou": piece.shared / (whole - piece.shared),
                "x_mm": round(float(x), 2),
                "y_mm": round(float(y), 2),
                "z_mm": round(float(z), 2),
            }


def _pieces(pair: OrganPair) -> Iterator[tuple[Piece, Triple]]:
    """Yield the pieces of an organ, each with the index (z, y, x) of its middle in the volume."""
    box = box_around((pair.prediction_box, pair.truth_box))
    if box is None or pair.ignored is not None:
        return
    for piece in each_piece(pair.labelled):
        z, y, x = (part.start + middle for part, middle in zip(box, piece.centre, strict=True))
        yield piece, (z, y, x)


def instances_file(scores_file: Path) -> Path:
    """Return where the pieces lie beside their scores.

    >>> instances_file(Path("out/scores.csv")).name
    'scores_instances.csv'
    """
    return scores_file.with_name(f"{scores_file.stem}_instances.csv")


def write_instances(rows: Sequence[Row], file: Path) -> None:
    """Write a row for each piece, by case, label and piece, atomically."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["case", "label", "piece"], kind="stable")
    write_frame(frame, file, digits=9)
