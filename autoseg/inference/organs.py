"""The organs of a prediction: volume, expected Dice, and what about each is worth a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.imaging.boxes import group_boxes
from autoseg.imaging.grid import Grid
from autoseg.inference.novelty import unusual_organs
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.inference.upsample import Upsampler
from autoseg.labels import LabelScheme


@dataclass(frozen=True, kw_only=True)
class OrganPrediction:
    """One organ of a prediction."""

    name: str
    label: int  # its value in the mask
    volume_ml: float
    expected_dice: float | None  # 0 to 1; None where nothing of it was found
    at_border: bool  # it reaches the image's edge, so it may be cut
    unusual: tuple[str, ...] = ()  # sentences on a volume or place outside the training's range


def predicted_organs(
    upsampler: Upsampler, scheme: LabelScheme, grid: Grid, postprocessing: Postprocessing
) -> tuple[OrganPrediction, ...]:
    """Return every organ of a mask.

    Args:
        upsampler: Has the mask, cleaned, and how certain the networks were.
        scheme: Of the organs.
        grid: Of the image.
        postprocessing: Of the model.
    """
    boxes = group_boxes(upsampler.mask, scheme.atoms_of)
    volumes_ml = [
        0.0 if box is None else np.count_nonzero(scheme.class_mask(upsampler.mask[box], index)) * grid.voxel_ml
        for index, box in boxes.items()
    ]
    present = {
        organ.value: ([(part.start, part.stop) for part in box], volume_ml)
        for organ, box, volume_ml in zip(scheme.labels, boxes.values(), volumes_ml, strict=True)
        if box is not None
    }
    fingerprint = postprocessing.fingerprint
    unusual = unusual_organs(present, grid.spacing_mm, fingerprint) if fingerprint else {}
    estimates = upsampler.certainty.estimates()
    return tuple(
        OrganPrediction(
            name=organ.name,
            label=organ.value,
            volume_ml=volume_ml,
            expected_dice=postprocessing.calibration.expected(estimate if box is not None else None),
            at_border=box is not None and _reaches_border(box, grid.shape),
            unusual=unusual.get(organ.value, ()),
        )
        for organ, box, volume_ml, estimate in zip(scheme.labels, boxes.values(), volumes_ml, estimates, strict=True)
    )


def _reaches_border(box: tuple[slice, ...], shape: Sequence[int]) -> bool:
    return any(n > 1 and (part.start == 0 or part.stop == n) for part, n in zip(box, shape, strict=True))
