"""The images to predict in a file or folder, and the files of their masks."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.errors import VolumeError
from autoseg.imaging.dicom import list_dicom
from autoseg.imaging.dicom_frames import is_dicom
from autoseg.imaging.pictures import files_of_mask, is_picture
from autoseg.imaging.readers import DICOM_SERIES, image_suffixes, images_among, reader_of, strip_suffix
from autoseg.imaging.stored import stored_files
from autoseg.imaging.volumes import is_dicom_folder
from autoseg.run import MASK_SUFFIX
from autoseg.words import counted, printable

logger = logging.getLogger(__name__)
CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's CASE_0000


@dataclass(frozen=True, kw_only=True)
class Input:
    """One image to predict."""

    name: str
    images: tuple[Path, ...]  # one a channel, or one
    out: Path
    series: str | None = None  # of a DICOM folder: SeriesInstanceUID, or its end; None: there is one


def list_inputs(source: Path, out: Path, channels: int, series: str | None = None) -> tuple[Input, ...]:
    """List the images to predict in an image file, a folder of images, or a DICOM folder.

    Args:
        source: An image; a folder of images; a DICOM series. A name loses nnU-Net's `_0000`; for a model of several
            channels the files CASE_0000, CASE_0001 … of a folder are one image.
        out: A file where it has an image suffix, else a folder.
        channels: Of the model.
        series: SeriesInstanceUID, or its end, of the series to take from a DICOM folder that holds several.

    Raises:
        VolumeError: If there is nothing to predict, several images for one file, a series of no DICOM folder, a mask
            would overwrite an image, or masks would lie among the images.
    """
    images_of = _images(source, channels)
    for image in [image for images in images_of.values() for image in images]:
        if printable(image.name) != image.name:
            raise VolumeError(
                f"{printable(str(image))}: its name is not UTF-8 text; rename it with letters, digits, - and _"
            )
    if not images_of:
        others = list_dicom(source).left_out_in_words(images_only=False)
        only = f", only {others}" if others else ""
        raise VolumeError(
            f"{source}: no image here{only}; known suffixes: {', '.join(image_suffixes())}, or a DICOM series"
        )
    if series and not any(reader_of(image) is DICOM_SERIES for images in images_of.values() for image in images):
        raise VolumeError(f"--series {series}: {source} is no DICOM folder; leave it out")
    if strip_suffix(out) is not None:
        if len(images_of) > 1:
            raise VolumeError(f"{out}: is one file but {source} holds {len(images_of)} images; give a folder")
        jobs = tuple(Input(name=name, images=images, out=out, series=series) for name, images in images_of.items())
    elif out.is_file():
        raise VolumeError(f"{out}: has no image suffix; give a folder or one of {', '.join(image_suffixes())}")
    else:
        jobs = tuple(
            Input(name=name, images=images, out=out / f"{name}{_suffix(images[0])}", series=series)
            for name, images in images_of.items()
        )
    written = {file.resolve() for job in jobs for file in files_of_mask(job.out)}
    if written & {file.resolve() for job in jobs for file in stored_files(job.images)}:
        raise VolumeError(f"{out}: a mask would overwrite its image, or what says its spacing; give another OUT")
    if source.is_dir() and out.resolve() == source.resolve():
        raise VolumeError(
            f"{out}: is where the images are, and the next call would take masks for images; give another"
        )
    return jobs


def folder_of(out: Path) -> Path | None:
    """Return OUT where it is a folder, which then gets a table and the names of the labels; None where it is a file."""
    return None if strip_suffix(out) is not None else out


def require_series(images: Sequence[Path], option: str) -> None:
    """Refuse early an option that only a DICOM series makes possible.

    Raises:
        VolumeError: If an image is no DICOM folder.
    """
    for image in images:
        if reader_of(image) is not DICOM_SERIES:
            raise VolumeError(f"{image}: is no DICOM series, so {option} has nothing to refer to; leave it out")


def _images(source: Path, channels: int) -> dict[str, tuple[Path, ...]]:
    """Return the images of a file or folder: name to its files."""
    if source.is_file():
        return {_name(source): (source,)}
    if not source.is_dir():
        raise VolumeError(f"{source}: there is no such file or folder; give an image, a folder of images or of DICOM")
    files = images_among(sorted(source.iterdir()))
    if not files and is_dicom_folder(source):
        return {source.resolve().name: (source,)}
    beside = sum(strip_suffix(p) is None and p.is_file() and is_dicom(p) for p in source.iterdir())
    if beside:
        logger.warning(
            "%s: %s beside the images left out; put the series into its own folder",
            source,
            counted(beside, "DICOM file"),
        )
    images_of = _by_channel(files, channels) if channels > 1 else {}
    channel_files = {file for images in images_of.values() for file in images}
    for file in files:
        if file in channel_files:
            continue
        if _name(file) in images_of:
            raise VolumeError(f"{file}: another image in {source} has the same name; rename one")
        images_of[_name(file)] = (file,)
    return images_of


def _by_channel(files: Sequence[Path], channels: int) -> dict[str, tuple[Path, ...]]:
    """Return the images whose channels CASE_0000 … are all there, one file each."""
    numbered: dict[str, dict[int, Path]] = {}
    for file in files:
        if match := CHANNEL.fullmatch(strip_suffix(file) or ""):
            numbered.setdefault(match[1], {})[int(match[2])] = file
    complete = {name: parts for name, parts in numbered.items() if sorted(parts) == list(range(channels))}
    return {name: tuple(parts[n] for n in range(channels)) for name, parts in complete.items()}


def _suffix(image: Path) -> str:
    """Return the suffix of a mask in a folder: a picture's own, else that of all masks."""
    return image.suffix.lower() if is_picture(image) else MASK_SUFFIX


def _name(file: Path) -> str:
    return (strip_suffix(file) or file.name).removesuffix("_0000")
