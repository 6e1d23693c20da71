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
from scipy import ndimage

from autoseg.errors import VolumeError
from autoseg.files import atomic_path
from autoseg.imaging.dicom import Series, pick_series, read_slices
from autoseg.imaging.grid import Grid, to_lps
from autoseg.labels import Label

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeriesMask:
    """A mask and the series it was made from."""

    mask: npt.NDArray[np.integer[Any]]  # label values (Z, Y, X), axes along LPS
    stored: Grid  # of the series, slices in the order of their positions
    labels: Sequence[Label]
    folder: Path  # of the series
    uid: str | None = None  # its SeriesInstanceUID, or the end of it; None: there is one


@dataclass(frozen=True, kw_only=True)
class Organ:
    """An organ that was found."""

    index: int  # in label order, from 0: its colour
    label: Label
    slices: slice  # that it has any voxel in


@dataclass(frozen=True, kw_only=True)
class SlicedMask:
    """The mask on the slices of the series."""

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
    mask = to_lps(source.stored)[0].undo(source.mask)
    boxes = ndimage.find_objects(mask, max(label.value for label in source.labels))
    organs = [
        Organ(index=index, label=label, slices=boxes[label.value - 1][0])
        for index, label in enumerate(source.labels)
        if boxes[label.value - 1] is not None
    ]
    if not organs:
        logger.warning("%s: no organ was found, so %s is not written", file, what)
        return
    series = pick_series(source.folder, source.uid)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what is odd in the series' own headers is not ours to tell
            made = make(SlicedMask(mask=mask, organs=organs, series=series, headers=read_slices(series)))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise VolumeError(f"{file}: the series cannot be referred to as {what} must ({error}); use .nii.gz") from error
    with atomic_path(file) as beside:
        made.save_as(beside)
