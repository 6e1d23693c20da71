"""DICOM series: which ones a folder holds, and the one that is meant, if it is an evenly sampled volume.

Headers only; `readers` reads the voxels. Files need no suffix and may lie in folders within the folder.
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
from autoseg.imaging.dicom_frames import Frame, LeftOut, read_frames
from autoseg.imaging.dicom_stacks import Axes, require_whole, sort_by_position, split, stacks_of, without_copies
from autoseg.imaging.grid import Grid
from autoseg.words import printable

logger = logging.getLogger(__name__)
SHORT = 16  # characters that DICOM's short strings hold
# what objects that refer to a series repeat of patient and study; it may be blank, but must be there
BLANK = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Series:
    """Slices of one series that lie side by side."""

    frames: tuple[Frame, ...]  # in the order of their positions
    axes: Axes
    part: str = ""  # what tells it from other volumes of the same series, such as an acquisition; "" for the only one

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.frames[0].uid

    @property
    def name(self) -> str:
        """What --series may give, or the end of it."""
        return f"{self.uid}/{self.part}" if self.part else self.uid

    @property
    def files(self) -> tuple[Path, ...]:
        """File of each slice; that of several where it holds them."""
        return tuple(frame.file for frame in self.frames)

    @property
    def positions_mm(self) -> npt.NDArray[np.float64]:
        """Centre of each slice's first voxel, patient x, y, z, (slices, 3)."""
        return self.axes.positions_mm

    @property
    def orientation(self) -> npt.NDArray[np.float64]:
        """Unit vectors along rows and columns, patient x, y, z, (2, 3)."""
        return self.axes.orientation

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Distance between rows, between columns."""
        return self.frames[0].pixel_mm

    @property
    def size(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.frames[0].size

    @property
    def same_slope(self) -> bool:
        """Whether all slices are scaled alike."""
        return len({frame.slope for frame in self.frames}) == 1

    @property
    def multi_frame(self) -> bool:
        """Whether a file of it holds several slices."""
        return any(frame.number is not None for frame in self.frames)

    @property
    def summary(self) -> str:
        """One line on the series, for a list to choose from."""
        first = self.frames[0]
        named = f" '{first.description}'" if first.description else ""
        name = self.name if self.uid else f"no UID{'/' if self.part else ''}{self.part}: put it into its own folder"
        return f"{name} ({first.modality}{named}, {len(self.frames)} slices of {self.size[0]} × {self.size[1]})"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a folder holds of DICOM."""

    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]

    def left_out_in_words(self, images_only: bool) -> str:
        """Say which files belong to no series and why, all of one reason together; nothing where there is none."""
        reasons: dict[str, list[str]] = {}
        for one in self.left_out:
            if one.image or not images_only:
                reasons.setdefault(one.reason, []).append(one.file.name)
        parts = []
        for reason, names in reasons.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            parts.append(f"{printable(names[0])}{more} ({reason})")
        return "; ".join(parts)


def list_dicom(source: Path) -> Listing:
    """Return the series of images in a folder and the folders within it, or in one file, and what belongs to none."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    frames: list[Frame] = []
    left_out: list[LeftOut] = []
    for file in files:
        header = read_frames(file)
        if isinstance(header, LeftOut):
            left_out.append(header)
        elif header is not None:
            frames += header
    stacks, outliers = stacks_of(frames)
    left_out += outliers
    series = []
    for stack in stacks:
        single, copies = without_copies(stack)
        left_out += copies
        for part, members in split(single).items():
            ordered, axes = sort_by_position(members)
            series.append(Series(frames=ordered, axes=axes, part=part))
    return Listing(series=tuple(series), left_out=tuple(left_out))


def list_series(folder: Path) -> tuple[Series, ...]:
    """Return the series of images in a folder and the folders within it; scouts and reports are no images."""
    return list_dicom(folder).series


def pick_series(source: Path, uid: str | None = None, say_left_out: bool = False) -> Series:
    """Return the one series of a folder, or the one that the user names; it is an evenly sampled volume.

    Args:
        source: Folder with the files of the series, perhaps among others; or one file that holds all slices.
        uid: SeriesInstanceUID, or the end of it; None: there must be only one.
        say_left_out: Whether a warning names the images that belong to no series.

    Raises:
        VolumeError: If there is no such series or more than one; if the fields that a series shares differ; or if
            slices are uneven, missing, doubled or tilted.
    """
    listing = list_dicom(source)
    series = listing.series
    if not series:
        others = listing.left_out_in_words(images_only=False)
        why = f", only {others}" if others else ""
        raise VolumeError(f"{source}: no DICOM series here{why}; give an image file or a folder of one series")
    chosen = [one for one in series if uid is None or one.uid.endswith(uid) or one.name.endswith(uid)]
    if len(chosen) != 1:
        raise VolumeError(_not_one(source, uid, series, chosen))
    if source.is_file() and not chosen[0].multi_frame:
        raise VolumeError(f"{source}: is one slice of a DICOM series; give the folder of the series, {source.parent}")
    others = listing.left_out_in_words(images_only=True)
    require_whole(source, chosen[0].frames, others)
    if say_left_out and others:
        logger.warning("%s: left out of the series: %s", source, others)
    return chosen[0]


def _not_one(source: Path, uid: str | None, series: Sequence[Series], chosen: Sequence[Series]) -> str:
    """Return the message on several series, or none, where one is to be chosen."""
    same = [one for one in chosen if one.part == "" and one.uid == chosen[0].uid]
    if len(same) > 1 and len(same) == len(chosen):
        return (
            f"{source}: series {chosen[0].uid} holds slices of {len(chosen)} orientations or sizes; put the "
            "wanted ones into their own folder"
        )
    listed = "; ".join(one.summary for one in series)
    what = f"{len(chosen)} of them end with {uid}" if uid else "name one with --series, or its end"
    volumes = len(series) - len({one.uid for one in series})
    kind = "volumes in DICOM series" if volumes else "DICOM series"
    return f"{source}: {len(series)} {kind} here, {what}: {listed}"


def grid_of(series: Series) -> Grid:
    """Return the grid of an evenly sampled series, its slices in the order of their positions.

    Raises:
        VolumeError: If it is a single slice whose thickness is unknown.
    """
    step = series.axes.spacing_mm or series.frames[0].thickness_mm
    if not step:
        raise VolumeError(f"{series.files[0]}: a single slice without a thickness; its spacing is unknown")
    direction = np.column_stack((*series.orientation, series.axes.normal))
    x, y, z = (float(v) for v in series.positions_mm[0])
    return Grid(
        shape=(len(series.frames), *series.size),
        spacing_mm=(step, *series.pixel_mm),
        origin_mm=(x, y, z),
        direction=tuple(float(v) for v in direction.ravel()),
    )


def read_slices(series: Series) -> list[Any]:
    """Return the slices' whole headers (pydicom datasets) without voxels, in the order of their positions.

    What an object that refers to the series needs, and anonymisers blank, remove or overfill, is mended: identifiers
    of the file come from its own preamble, those of study and series are made from it, short texts are cut to length,
    and what is missing of patient and study is blank. Slices of one file share its header.
    """
    import pydicom

    header_of = {file: pydicom.dcmread(file, stop_before_pixels=True, force=True) for file in series.files}
    headers = list(header_of.values())
    if not all(one.get("StudyInstanceUID") and one.get("SeriesInstanceUID") for one in headers):
        logger.warning(
            "%s: study or series have no UID; what refers to them gets new ones, so no viewer will find the series",
            series.files[0].parent,
        )
    new_uid = pydicom.uid.generate_uid(entropy_srcs=[frame.instance for frame in series.frames])
    for one in headers:
        one.SOPClassUID = one.get("SOPClassUID") or one.file_meta.MediaStorageSOPClassUID
        one.SOPInstanceUID = one.get("SOPInstanceUID") or one.file_meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID = one.get("StudyInstanceUID") or new_uid
        one.SeriesInstanceUID = one.get("SeriesInstanceUID") or new_uid
        one.FrameOfReferenceUID = one.get("FrameOfReferenceUID") or new_uid
        for tag in BLANK:
            if tag not in one:
                setattr(one, tag, "")
        for tag in ("StudyID", "AccessionNumber"):
            if one.get(tag):
                setattr(one, tag, str(one.get(tag))[:SHORT])
    return [header_of[file] for file in series.files]
