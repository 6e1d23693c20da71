"""The values of a label map as whole numbers, however a file holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.remarks import Remark

ALMOST_WHOLE = 1e-3  # label values nearer than this to a whole number were rounded on their way


def whole_values(file: Path, channels: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], tuple[Remark, ...]]:
    """Return label values as int32 (Z, Y, X), rounded where a slope in the header left them less than 0.001 off.

    Args:
        file: For messages.
        channels: As stored (C, Z, Y, X).

    Raises:
        VolumeError: If they are not whole numbers, or there are several channels.
    """
    array = _one_channel(file, channels)
    with np.errstate(invalid="ignore"):  # values that no int32 holds are refused below
        whole = array.astype(np.int32)
    if np.can_cast(array.dtype, np.int32) or np.array_equal(whole, array):
        return whole, ()
    with np.errstate(invalid="ignore"):
        whole = np.rint(array).astype(np.int32)
    off = np.abs(whole - array.astype(np.float64))
    worst = float(array.flat[int(off.argmax())])
    if off.max() > ALMOST_WHOLE and worst.is_integer():
        raise VolumeError(f"{file}: holds the value {worst:.6g}, which is no label's; it may be an image")
    if off.max() > ALMOST_WHOLE:
        raise VolumeError(
            f"{file}: label values are not whole numbers ({worst:g}); it may be an image or was interpolated"
        )
    found = f"label values are not quite whole numbers ({worst:.7g}); they are rounded"
    return whole, (Remark(code="label-rounded", found=found, fix="nothing; or save it as whole numbers"),)


def _one_channel(file: Path, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if len(array) != 1:
        raise VolumeError(f"{file}: a label map must have one channel, found {len(array)}; merge them into one map")
    if not np.isfinite(array).all():
        raise VolumeError(f"{file}: label values are NaN or infinite; write whole numbers")
    return np.asarray(array[0])
