"""What an image or a label map is stored in: its file, and those that its file is not whole without."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from autoseg.digests import digest, files_digest
from autoseg.errors import VolumeError
from autoseg.imaging.pictures import spacing_file, spacing_of
from autoseg.imaging.text_headers import meta_fields, nrrd_fields

META, NRRD = (".mhd", ".mha"), (".nrrd", ".nhdr")  # formats whose voxels may lie in other files
NUMBER = re.compile(r"%\d{0,3}d")  # in a pattern of names


def stored_files(files: Iterable[Path]) -> tuple[Path, ...]:
    """Return the files that images and label maps are read from.

    They are the files themselves, those that hold their voxels where a header names them, and what says how large a
    pixel of a picture is.
    """
    named = tuple(files)
    voxels = dict.fromkeys(beside for file in named for beside in voxel_files(file))
    says = {one: None for file in named if (one := spacing_file(file)) is not None}
    return (*named, *voxels, *says)


def stored_digest(files: Iterable[Path]) -> str:
    """Return a digest of images and label maps: of their files, and of what is said of the pixels of pictures."""
    named = tuple(files)
    voxels = dict.fromkeys(beside for file in named for beside in voxel_files(file))
    content = files_digest((*named, *voxels))
    given = [spacing_of(one) for file in named if (one := spacing_file(file)) is not None]
    return digest(content, given) if given else content


def voxel_files(file: Path) -> tuple[Path, ...]:
    """Return the files that the header of a MetaImage or NRRD says its voxels are in, whether they are there or not.

    None where they follow the header in the file itself, and where it cannot be read: whoever reads it tells why.
    """
    try:
        if file.suffix.lower() in META:
            where = meta_fields(file)[0]["ElementDataFile"]
            names = () if where.upper() == "LOCAL" else _named(file, where)
        elif file.suffix.lower() in NRRD:
            where = nrrd_fields(file)[0].get("datafile", "")
            names = _named(file, where) if where else ()
        else:
            return ()
    except (VolumeError, OSError):
        return ()
    return tuple(file.parent / name for name in names)


def _named(file: Path, where: str) -> tuple[str, ...]:
    """Return the names that a header means: one, those of a list that follows it, or those that fit a pattern."""
    if where.split()[:1] == ["LIST"]:
        lines = iter(file.read_bytes().decode("utf-8", "surrogateescape").splitlines())
        for line in lines:  # up to the one that begins the list
            if line.rstrip().endswith(where):
                break
        return tuple(line.strip() for line in lines if line.strip())
    if "%" not in where:
        return (where,)
    pattern = Path(where.split()[0])
    like = re.compile(r"\d+".join(map(re.escape, NUMBER.split(pattern.name))))
    beside = sorted((file.parent / pattern.parent).glob("*"))
    return tuple(str(pattern.parent / one.name) for one in beside if like.fullmatch(one.name))
