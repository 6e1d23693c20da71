"""Objects that refer to a DICOM series: what a mask's DICOM SEG and its RT Structure Set have in common."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.files import atomic_path
from autoseg.imaging.boxes import group_boxes
from autoseg.imaging.dicom import Series, pick_series, read_slices
from autoseg.imaging.grid import Grid, to_lps
from autoseg.labels import Label, LabelScheme
from autoseg.words import shortened

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeriesMask:
    """A mask and the series it was made from."""

    mask: npt.NDArray[np.integer[Any]]  # label values (Z, Y, X), axes along LPS
    stored: Grid  # of the series, slices in the order of their positions
    scheme: LabelScheme
    folder: Path  # of the series
    uid: str | None = None  # its SeriesInstanceUID, or the end of it; None: there is one


@dataclass(frozen=True, kw_only=True)
class Organ:
    """An organ that was found."""

    label: Label
    slices: slice  # that it has any voxel in


@dataclass(frozen=True, kw_only=True)
class SlicedMask:
    """The mask on the slices of the series."""

    scheme: LabelScheme
    mask: npt.NDArray[np.integer[Any]]  # label values (slices, rows, columns)
    organs: Sequence[Organ]
    series: Series
    headers: Sequence[Any]  # of the slices (pydicom datasets), in the order of their positions


def write_object(file: Path, what: str, source: SeriesMask, make: Callable[[SlicedMask], Any]) -> None:
    """Write an object made of a mask and its series, atomically; nothing where no organ was found.

    Args:
        file: Where.
        what: Kind of object with its article, for messages.
        source: Mask and series.
        make: Returns the object, a pydicom dataset.

    Raises:
        VolumeError: If the series cannot be read or referred to.
        OSError: If the disk is full.
    """
    mask, scheme = to_lps(source.stored)[0].undo(source.mask), source.scheme
    boxes = group_boxes(mask, {label: scheme.values_of(label) for label in scheme.labels})
    organs = [Organ(label=label, slices=box[0]) for label, box in boxes.items() if box is not None]
    file.unlink(missing_ok=True)  # whatever comes of this one, that of an earlier mask no longer holds
    if not organs:
        logger.warning("%s: no organ was found, so %s is not written", file, what)
        return
    series = pick_series(source.folder, source.uid)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what is odd in the series' own headers is not ours to tell
            dataset = make(
                SlicedMask(scheme=scheme, mask=mask, organs=organs, series=series, headers=read_slices(series))
            )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise VolumeError(
            f"{file}: the series cannot be referred to as {what} must ({shortened(error, 200)}); use .nii.gz"
        ) from error
    with atomic_path(file) as beside:
        dataset.save_as(beside)
