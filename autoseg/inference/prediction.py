"""What a model makes of an image, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Mask = TypeVar("Mask", covariant=True)  # a Volume, or what `imaging.convert` gives back


@dataclass(frozen=True, kw_only=True)
class OrganPrediction:
    """One organ of a prediction."""

    name: str
    label: int  # its value in the mask
    volume_ml: float
    expected_dice: float | None  # 0 to 1; None where nothing of it was found
    at_border: bool  # it reaches the image's edge, so it may be cut
    unusual: tuple[str, ...] = ()  # what of its volume and place lies outside of what the training had, in words


@dataclass(frozen=True, kw_only=True)
class Prediction(Generic[Mask]):
    """What a model makes of an image."""

    mask: Mask  # label values on the image's own grid, in the form of the image
    organs: tuple[OrganPrediction, ...]
    unlike: tuple[str, ...]  # what of the image is unlike the training, in words
    probabilities: npt.NDArray[np.float16] | None = None  # (classes, Z, Y, X) on the working grid, where wanted
