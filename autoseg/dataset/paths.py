"""The paths that a dataset names or holds: which file is meant, and which case it belongs to."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path, PureWindowsPath

from autoseg.errors import DatasetError
from autoseg.imaging.dicom_segments import strip_segmentation_suffix
from autoseg.imaging.readers import image_suffixes, images_among, reader_of, strip_suffix
from autoseg.imaging.slicer_segments import strip_slicer_suffix
from autoseg.words import is_text, printable, shortened

LONGEST_NAME = 255  # bytes of a file's name
FOLDERS_ABOVE = 3  # in which the name of a case is looked for where files share a name


def require_text(file: Path) -> None:
    """Raise DatasetError if the path of a file is no text: image libraries end the process on such a name."""
    if not is_text(str(file)):
        raise DatasetError(f"{printable(str(file))}: its name is not UTF-8; rename it with letters, digits, - and _")


def path_of(where: str, root: Path, name: str) -> Path:
    r"""Return the file that a name means, as seen from `root`; one written on Windows has \ where / is meant.

    Raises:
        DatasetError: If it cannot be the name of a file here.
    """
    if "\x00" in name or any(len(os.fsencode(part)) > LONGEST_NAME for part in re.split(r"[/\\]", name)):
        raise DatasetError(f"{where}: {shortened(repr(name))} cannot be the name of a file; correct it")
    if sys.platform != "win32" and re.match(r"[A-Za-z]:[/\\]|\\\\", name):
        raise DatasetError(
            f"{where}: {shortened(name)} is a Windows path, which does not exist here; write it relative to {root}"
        )
    return root / (PureWindowsPath(name).as_posix() if "\\" in name and not (root / name).exists() else name)


def ids_of(images: Sequence[Path]) -> list[str]:
    """Return case ids: the names of the files, or of the nearest folders that differ where some files share a name."""
    ids = [_case_of(image) for image in images]
    for above in range(FOLDERS_ABOVE):
        folders = [image.parents[above].name if len(image.parents) > above else "" for image in images]
        if len(set(ids)) < len(ids) and len({folder.casefold() for folder in folders}) == len(ids) and all(folders):
            return folders
    return ids


def _case_of(file: Path) -> str:
    """Return the case id of an image file: its name without suffix and nnU-Net's channel number 0000."""
    return (strip_suffix(file) or file.name).removesuffix("_0000")


def files_by_stem(folder: Path, images: Collection[str] | None = None, with_pictures: bool = False) -> dict[str, Path]:
    """Return the images in a folder by their name without suffix; of label maps, the DICOM SEG among them, too.

    PNG and TIFF count where they are alone, or `with_pictures`.

    Args:
        folder: Of images, or of label maps.
        images: Where these are label maps, the images' names; .seg.nrrd is the suffix of 3D Slicer's segmentations
            unless images bear the name with .seg.
        with_pictures: Whether PNG and TIFF beside other formats are images, too.

    Raises:
        DatasetError: If the folder is missing, holds files but no image, or one name with two suffixes.
    """
    if not folder.is_dir():
        raise DatasetError(f'{folder}: missing; put the files there or list the pairs under "training"')
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    by_stem: dict[str, Path] = {}
    for file in files:
        require_text(file)
    for file in images_among(files, with_pictures):
        stem = strip_suffix(file)
        if images is not None and stem not in images and f"{stem}_0000" not in images:
            stem = strip_slicer_suffix(file) or stem
        if stem in by_stem:
            raise DatasetError(f"{folder}: {by_stem[stem].name} and {file.name} are the same case; remove one")
        if stem is not None:
            by_stem[stem] = file
    for file in files if images is not None else ():
        stem = strip_segmentation_suffix(file)
        if stem is not None:
            by_stem.setdefault(stem, file)
    if files and not by_stem:
        require_known_type(str(folder), files[0])
    return by_stem


def require_known_type(where: str, file: Path) -> None:
    """Raise DatasetError if a file is of a type that nothing here reads."""
    if reader_of(file) is None and (file.exists() or strip_segmentation_suffix(file) is None):
        suffixes = ", ".join(image_suffixes())
        raise DatasetError(f"{where}: {file.name} is of an unknown file type; convert it to one of {suffixes}")
