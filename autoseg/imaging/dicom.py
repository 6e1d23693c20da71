"""DICOM series: which ones a folder holds, and whether one is an evenly sampled volume. The door to pydicom.

Headers only; `volumes` reads the voxels. Files need no suffix and may lie in folders within the folder.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid

logger = logging.getLogger(__name__)
UNEVEN_STEP_MM = 0.05  # slice steps may differ by this much (rounding in the headers)
MAGIC_AT = 128  # byte at which a DICOM file says that it is one
FEW = 3  # images of another orientation or size within a series: a scout that was stored with it
NOT_IMAGES = {"SR", "PR", "KO", "SEG", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "DOC", "PLAN"}  # modalities
JPEG_XL = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112))  # pydicom has no name for them
SHORT = 16  # characters that DICOM's short strings hold
TAGS = (
    "SeriesInstanceUID", "SeriesDescription", "Modality", "ImageType", "Rows", "Columns", "NumberOfFrames",
    "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient",
    "RescaleSlope",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Series:
    """Slices of one series that lie side by side."""

    uid: str
    modality: str
    description: str
    files: tuple[Path, ...]  # in the order of their positions
    positions_mm: npt.NDArray[np.float64]  # centre of each slice's first voxel, patient x, y, z, (slices, 3)
    orientation: npt.NDArray[np.float64]  # unit vectors along rows and columns, patient x, y, z, (2, 3)
    pixel_mm: tuple[float, float]  # between rows, between columns
    size: tuple[int, int]  # rows, columns
    thickness_mm: float | None
    same_slope: bool  # whether all slices are scaled alike

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector across the slices."""
        return np.cross(self.orientation[0], self.orientation[1])

    @property
    def summary(self) -> str:
        """One line on the series, for a list to choose from."""
        named = f" '{self.description}'" if self.description else ""
        uid = self.uid or "no UID: put it into its own folder"
        return f"{uid} ({self.modality}{named}, {len(self.files)} slices of {self.size[0]} × {self.size[1]})"


def list_series(folder: Path) -> tuple[Series, ...]:
    """Return the series of images in a folder and the folders within it; scouts and reports are no images."""
    by_stack: dict[tuple[object, ...], list[_Slice]] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        header = _slice(file)
        if header is not None:
            along = tuple(round(v, 3) for v in header.orientation)
            by_stack.setdefault((header.uid, along, header.size), []).append(header)
    largest = {uid: max(len(slices) for key, slices in by_stack.items() if key[0] == uid) for uid, *_ in by_stack}
    return tuple(
        _series(slices) for key, slices in by_stack.items() if len(slices) > FEW or len(slices) == largest[str(key[0])]
    )


def pick_series(folder: Path, uid: str | None = None) -> Series:
    """Return the one series of a folder, or the one that the user names; it is an evenly sampled volume.

    Args:
        folder: With the files of the series, perhaps among others.
        uid: SeriesInstanceUID, or the end of it; None: there must be only one.

    Raises:
        VolumeError: If there is no such series or more than one; or if slices are uneven, missing, doubled or tilted.
    """
    series = list_series(folder)
    if not series:
        raise VolumeError(f"{folder}: no DICOM series here; give an image file or a folder of one series")
    chosen = [one for one in series if uid is None or one.uid.endswith(uid)]
    if len(chosen) > 1 and len({one.uid for one in chosen}) == 1:
        raise VolumeError(
            f"{folder}: series {chosen[0].uid} holds slices of {len(chosen)} orientations or sizes; put the "
            "wanted ones into their own folder"
        )
    if len(chosen) != 1:
        listed = "; ".join(one.summary for one in series)
        what = f"{len(chosen)} of them end with {uid}" if uid else "name one with --series, or its end"
        raise VolumeError(f"{folder}: {len(series)} DICOM series here, {what}: {listed}")
    _require_even(folder, chosen[0])
    return chosen[0]


def grid_of(series: Series) -> Grid:
    """Return the grid of an evenly sampled series, its slices in the order of their positions.

    Raises:
        VolumeError: If it is a single slice whose thickness is unknown.
    """
    steps = np.diff(series.positions_mm, axis=0) @ series.normal
    step = float(steps.mean()) if len(steps) else series.thickness_mm
    if not step:
        raise VolumeError(f"{series.files[0]}: a single slice without a thickness; its spacing is unknown")
    direction = np.column_stack((*series.orientation, series.normal))
    x, y, z = (float(v) for v in series.positions_mm[0])
    return Grid(
        shape=(len(series.files), *series.size),
        spacing_mm=(step, *series.pixel_mm),
        origin_mm=(x, y, z),
        direction=tuple(float(v) for v in direction.ravel()),
    )


def read_slices(series: Series) -> list[Any]:
    """Return the slices' whole headers (pydicom datasets) without voxels, in the order of their positions.

    What an object that refers to the series needs, and anonymisers blank or overfill, is mended: identifiers of the
    file come from its own preamble, those of study and series are made from it, and short texts are cut to length.
    """
    import pydicom

    slices = [pydicom.dcmread(file, stop_before_pixels=True) for file in series.files]
    if not all(one.get("StudyInstanceUID") and one.get("SeriesInstanceUID") for one in slices):
        logger.warning(
            "%s: study or series have no UID; what refers to them gets new ones, so no viewer will find the series",
            series.files[0].parent,
        )
    new_uid = pydicom.uid.generate_uid(entropy_srcs=[str(one.file_meta.MediaStorageSOPInstanceUID) for one in slices])
    for one in slices:
        one.SOPClassUID = one.get("SOPClassUID") or one.file_meta.MediaStorageSOPClassUID
        one.SOPInstanceUID = one.get("SOPInstanceUID") or one.file_meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID = one.get("StudyInstanceUID") or new_uid
        one.SeriesInstanceUID = one.get("SeriesInstanceUID") or new_uid
        for tag in ("StudyID", "AccessionNumber"):
            if one.get(tag):
                setattr(one, tag, str(one.get(tag))[:SHORT])
    return slices


def transfer_syntax(file: Path) -> str:
    """Name the compression of a file's voxels."""
    import pydicom

    syntax = str(pydicom.dcmread(file, stop_before_pixels=True).file_meta.get("TransferSyntaxUID", ""))
    return "JPEG XL" if syntax in JPEG_XL else str(pydicom.uid.UID(syntax).name)


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """The fields of one slice's header that matter here."""

    file: Path
    uid: str
    modality: str
    description: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]  # along rows and columns, patient x, y, z each
    pixel_mm: tuple[float, float]
    size: tuple[int, int]
    thickness_mm: float | None
    slope: str


def _slice(file: Path) -> _Slice | None:
    """Return the header of a slice; None for another kind of file, or an image that is no slice of a volume."""
    import pydicom

    try:
        with file.open("rb") as stream:
            start = stream.read(MAGIC_AT + 4)
        if start[MAGIC_AT:] != b"DICM":
            return None
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
        scout = "LOCALIZER" in [str(part).upper() for part in header.get("ImageType") or ()]
        if scout or str(header.get("Modality")) in NOT_IMAGES or "ImagePositionPatient" not in header:
            return None
        if int(header.get("NumberOfFrames") or 1) > 1:
            logger.warning("%s: holds several frames in one file and is left out; convert it to NIfTI", file)
            return None
        return _read_slice(file, header)
    except (OSError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        logger.warning("%s: its DICOM header cannot be used (%s); the file is left out", file, error)
        return None


def _read_slice(file: Path, header: Any) -> _Slice:
    """Return what a header says.

    Raises:
        ValueError, AttributeError: If something is missing or no number.
    """
    position = tuple(float(v) for v in header.ImagePositionPatient)
    orientation = tuple(float(v) for v in header.ImageOrientationPatient)
    rows = np.reshape(orientation, (2, 3))
    if len(position) != 3 or abs(np.linalg.norm(np.cross(*rows)) - 1) > 0.01:
        raise ValueError(f"position {position}, orientation {orientation}")
    thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
    return _Slice(
        file=file,
        uid=str(header.SeriesInstanceUID),
        modality=str(header.get("Modality", "?")),
        description=str(header.get("SeriesDescription") or ""),
        position=position,
        orientation=orientation,
        pixel_mm=(float(header.PixelSpacing[0]), float(header.PixelSpacing[1])),
        size=(int(header.Rows), int(header.Columns)),
        thickness_mm=abs(float(thickness)) if thickness else None,
        slope=str(header.get("RescaleSlope")),
    )


def _series(part: Sequence[_Slice]) -> Series:
    first = part[0]
    orientation = np.reshape(np.array(first.orientation, dtype=np.float64), (2, 3))
    orientation /= np.linalg.norm(orientation, axis=1, keepdims=True)
    positions = np.array([one.position for one in part], dtype=np.float64)
    order = np.argsort(positions @ np.cross(*orientation), kind="stable")
    return Series(
        uid=first.uid,
        modality=first.modality,
        description=first.description,
        files=tuple(part[n].file for n in order),
        positions_mm=positions[order],
        orientation=orientation,
        pixel_mm=first.pixel_mm,
        size=first.size,
        thickness_mm=first.thickness_mm,
        same_slope=len({one.slope for one in part}) == 1,
    )


def _require_even(folder: Path, series: Series) -> None:
    """Refuse what would otherwise be read with a wrong spacing or a shear.

    Raises:
        VolumeError: With the numbers that prove it.
    """
    steps = np.diff(series.positions_mm, axis=0)
    if not len(steps):
        return
    along = steps @ series.normal
    doubled = int((np.abs(along) < UNEVEN_STEP_MM).sum())
    if doubled:
        raise VolumeError(
            f"{folder}: {doubled} of {len(series.files)} slices lie where another one does; the series holds several "
            "volumes, such as phases: put the wanted one into its own folder"
        )
    if np.ptp(along) > UNEVEN_STEP_MM:
        raise VolumeError(
            f"{folder}: slice steps run from {along.min():.2f} to {along.max():.2f} mm, so slices are missing or "
            "uneven; resample the series to even slices first"
        )
    aside = np.linalg.norm(steps - along[:, None] * series.normal, axis=1).max()
    if aside > UNEVEN_STEP_MM:
        raise VolumeError(
            f"{folder}: the gantry is tilted, each slice is shifted by {aside:.2f} mm; correct the tilt first"
        )
