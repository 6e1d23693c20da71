"""The grid of a NIfTI file: which of its two forms holds, and whether it is one at all.

ITK takes the sform or the qform by rules of its own, the spacing from a third place, 1 mm for a spacing of 0 or NaN,
and says nothing of it. Its grid is used to the bit where it is the header's.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.grid import NEAR_VOXELS, Grid, corner_distance_mm, spacing_text
from autoseg.imaging.itk import read_information
from autoseg.imaging.nifti import NiftiHeader
from autoseg.imaging.remarks import Remark
from autoseg.imaging.right_angles import grid_of_axes, is_usable

Affine = npt.NDArray[np.float64]  # (3, 4): steps along the axes (X, Y, Z), then the first voxel's place; LPS, mm
LPS_OF_RAS = np.array([[-1.0], [-1.0], [1.0]])
SPACING_DIFFERS = 0.01  # relative
MOST_GRIDS = 64  # that are remembered
_grids: dict[bytes, tuple[Grid, tuple[Remark, ...]]] = {}  # by all that a header says of where voxels lie


def read_nifti_grid(file: Path, header: NiftiHeader) -> tuple[Grid, tuple[Remark, ...]]:
    """Return the grid of a NIfTI file; a label map mostly has its image's, whose working out takes a millisecond.

    Raises:
        VolumeError: As `grid_of_nifti`.
    """
    known = _grids.get(header.place)  # in one step: another thread may clear them meanwhile
    if known is not None:
        return known
    by_itk: Grid | None = None
    if header.version == 1:  # the only one that ITK knows
        with suppress(VolumeError):
            by_itk = read_information(file, "NiftiImageIO").grid
    grid = grid_of_nifti(file, header, by_itk)
    if by_itk is not None:  # else another file of this header may be one that ITK reads
        if len(_grids) >= MOST_GRIDS:
            _grids.clear()
        _grids[header.place] = grid
    return grid


def grid_of_nifti(file: Path, header: NiftiHeader, by_itk: Grid | None) -> tuple[Grid, tuple[Remark, ...]]:
    """Return the grid of a NIfTI file: by the sform, else by the qform, else by the spacing alone.

    Args:
        file: What it is called in messages.
        header: Of three axes or more.
        by_itk: The grid as ITK reads it, which is returned where it is the same; None: ITK refuses it.

    Raises:
        VolumeError: If the header gives no grid, or one whose axes are not at right angles.
    """
    sform, qform = _sform(header), _qform(header)
    axes, remarks = _choose(file, header, sform, qform)
    shape = (header.sizes[2], header.sizes[1], header.sizes[0])
    grid, more = grid_of_axes(shape, axes[:, :3], axes[:, 3], file)
    near = NEAR_VOXELS * min(grid.spacing_mm)
    if axes is sform and qform is not None and is_usable(qform):
        apart = float(np.linalg.norm(_corners(shape, sform) - _corners(shape, qform), axis=1).max())
        if not apart <= near:
            remarks += (_forms_differ(apart),)
    same = by_itk is not None and corner_distance_mm(grid, by_itk) < near
    return (by_itk if by_itk is not None and same else grid), (*remarks, *more)


def _choose(
    file: Path, header: NiftiHeader, sform: Affine | None, qform: Affine | None
) -> tuple[Affine, tuple[Remark, ...]]:
    steps = np.abs(header.pixdim[1:]) * header.unit_mm
    z, y, x = (float(step) for step in steps[::-1])
    if sform is not None and is_usable(sform):
        lengths = np.linalg.norm(sform[:, :3], axis=0)
        if qform is None and not np.allclose(steps, lengths, rtol=SPACING_DIFFERS):
            found = (
                f"pixdim says voxels of {spacing_text((z, y, x))} mm (Z, Y, X), the sform says otherwise and is taken"
            )
            return sform, (Remark(code="spacing-twice", found=found, fix="look whether it is right", is_doubtful=True),)
        return sform, ()
    if qform is not None and is_usable(qform):
        if header.sform_code <= 0:
            return qform, ()
        found = "the sform is not that of a grid; the qform is taken"
        return qform, (Remark(code="sform-unusable", found=found, fix="look whether it is right", is_doubtful=True),)
    if header.sform_code > 0 or header.qform_code > 0 or not (np.isfinite(steps).all() and steps.min() > 0):
        raise VolumeError(
            f"{file}: its header is not a grid (spacing {spacing_text((z, y, x))} mm (Z, Y, X)); export it again"
        )
    unknown = Remark(
        code="orientation-unknown",
        found="the header says no orientation (sform and qform codes are 0); it is read as LPS, and may be mirrored",
        fix="export it again with its orientation, or look whether left and right are as in the others",
        is_doubtful=True,
    )
    return np.column_stack((np.diag(steps), np.zeros(3))), (unknown,)


def _forms_differ(apart_mm: float) -> Remark:
    found = f"sform and qform lie {apart_mm:.3g} mm apart at a corner; the sform is taken"
    fix = "nothing, if the sform is the one that is meant; else copy the qform into it"
    return Remark(code="forms-differ", found=found, fix=fix)


def _sform(header: NiftiHeader) -> Affine | None:
    if header.sform_code <= 0:
        return None
    return LPS_OF_RAS * np.reshape(header.rows, (3, 4)).astype(np.float64) * header.unit_mm


def _qform(header: NiftiHeader) -> Affine | None:
    """Return the affine of the quaternion, as in the standard (nifti1.h, method 2)."""
    if header.qform_code <= 0:
        return None
    b, c, d = (float(v) for v in header.quaternion[:3])
    length = float(np.sqrt(b * b + c * c + d * d))
    if length > 1:  # half a turn, as niftilib takes it; or the steps would grow with it
        b, c, d = b / length, c / length, d / length
    a = float(np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d))))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    steps = np.array(header.pixdim[1:], dtype=np.float64)
    if header.pixdim[0] < 0:
        turn[:, 2] *= -1
    place = np.array(header.quaternion[3:], dtype=np.float64)
    with np.errstate(invalid="ignore"):  # a step that is infinite is refused by the caller
        affine: Affine = LPS_OF_RAS * np.column_stack((turn * np.where(steps > 0, steps, 0), place)) * header.unit_mm
    return affine


def _corners(shape: tuple[int, int, int], affine: Affine) -> npt.NDArray[Any]:
    z, y, x = shape
    index = np.array([[i, j, k, 1] for i in (0, x - 1) for j in (0, y - 1) for k in (0, z - 1)])
    return np.asarray(index @ affine.T)
