"""What a file holds, by its first bytes; and its bytes, unpacked where they are packed with gzip.

Names lie: a plain file is called .gz, a pointer of Git LFS .nii. Sizes lie, too: what a header declares is compared
with the file and with the free memory before anything of that size is made.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autoseg.errors import VolumeError
from autoseg.machine import GIB, free_memory_gib
from autoseg.words import counted

GZIP = b"\x1f\x8b"
NIFTI_SIZES = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c", b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")  # first field
START_BYTES = 1024  # enough to know a file by, and for the header of a NIfTI
CHUNK_BYTES = 1 << 18  # read at once
PIECE_BYTES = 1 << 22  # unpacked at once
MOST_PACKED = 1032  # how many times smaller deflate makes zeros, at best
SPARE_BYTES = 1 << 24  # after the voxels, that are looked through for damage; far more is no image
VOXEL_SUFFIXES = (".img", ".IMG")  # of a file that holds the voxels of a NIfTI's header
ALWAYS_FREE_BYTES = 1 << 26  # so little is not worth the question
TEXT = frozenset(range(32, 127)) | {9, 10, 13}
SIGNS = (  # first bytes, what they say, way out
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself", "fetch it with `git lfs pull`"),
    (b"<!DOCTYPE", "a web page", "download the image again"),
    (b"<!doctype", "a web page", "download the image again"),
    (b"<html", "a web page", "download the image again"),
    (b"PK\x03\x04", "a zip archive", "unpack it"),
    (b"BZh", "a bzip2 archive", "unpack it"),
    (b"\xfd7zXZ", "an xz archive", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it"),
    (GZIP, "packed with gzip twice", "unpack it once"),
    (b"/annex/objects/", "a git-annex pointer, not the image itself", "fetch it with `git annex get`"),
    (b"\x89HDF", "an HDF5 file", "convert it to NIfTI"),
    (b"\x89PNG", "a PNG picture", "convert it to NIfTI"),
    (b"\xff\xd8\xff", "a JPEG picture", "convert it to NIfTI"),
)


@dataclass(frozen=True)
class Content:
    """The unpacked bytes of a file that were asked for."""

    data: bytes | bytearray
    spare: int  # bytes after the packed data, which are no part of it


def read_start(file: Path) -> tuple[bytes, bool]:
    """Return the first bytes of a file, unpacked, fewer where it ends or is damaged; and whether they were packed.

    Raises:
        OSError: If it cannot be read.
    """
    start = bytearray()
    with file.open("rb") as stream:
        pieces = _Pieces(stream, START_BYTES, START_BYTES)
        with suppress(EOFError, zlib.error):
            for piece in pieces:
                start += piece
                if len(start) >= START_BYTES:
                    break
    return bytes(start[:START_BYTES]), pieces.is_packed


def require_format(file: Path, name: str) -> None:
    """Raise VolumeError where a file's first bytes say that it is of another format than `name`.

    Args:
        file: Exists.
        name: "NIfTI", "NRRD" or "MetaImage".
    """
    try:
        start, packed = read_start(file)
    except OSError as error:
        raise VolumeError(f"{file}: cannot be read ({error.strerror or error}); check its permissions") from error
    if not start:
        raise VolumeError(f"{file}: the file is empty or damaged, {file.stat().st_size} bytes; copy it again")
    for sign, what, way_out in SIGNS:
        if start.startswith(sign):
            raise VolumeError(f"{file}: is {what}; {way_out}")
    format_name = _format_of(start)
    if format_name not in (None, name):
        raise VolumeError(f"{file}: holds {format_name}, not {name} as its name says; rename it and copy it again")
    if packed and name != "NIfTI":
        raise VolumeError(f"{file}: is packed with gzip, which {name} files are not; unpack it with gunzip")
    if format_name is None and set(start) <= TEXT:
        words = " ".join(start[:40].decode("ascii").split())
        raise VolumeError(f"{file}: is not an image but text ('{words}'); copy or export the image again")


def _format_of(start: bytes) -> str | None:
    if start.startswith(NIFTI_SIZES):
        return "NIfTI"
    if start.startswith(b"NRRD000"):
        return "NRRD"
    if start[128:132] == b"DICM":
        return "DICOM"
    head = start[:START_BYTES].lstrip()
    return "MetaImage" if head.startswith((b"ObjectType", b"NDims", b"Comment")) and b"=" in head else None


def unpack(file: Path, needed_bytes: Callable[[bytes], int]) -> Content:
    """Read a file, packed or not, as far as it is needed, and look through what follows for damage.

    Args:
        file: To read.
        needed_bytes: How many bytes are needed, from the first ones.

    Raises:
        VolumeError: If so much is declared that neither the file nor the free memory can hold it.
        EOFError, zlib.error, OSError: If the file is cut short or damaged.
    """
    packed_bytes = file.stat().st_size
    with file.open("rb") as stream:
        pieces = _Pieces(stream, PIECE_BYTES)
        start = next(pieces, b"")
        needed = needed_bytes(bytes(start[:START_BYTES]))
        most = packed_bytes * MOST_PACKED + START_BYTES if pieces.is_packed else packed_bytes
        if needed > most:
            raise VolumeError(
                f"{file}: the file is cut short, {packed_bytes} bytes cannot hold the {needed} that its header "
                "declares; copy it again"
            )
        require_memory(file, needed)
        data = bytearray(needed)
        at = 0
        for piece in _chain(start, pieces):
            part = piece[: needed - at]
            data[at : at + len(part)] = part
            at += len(part)
            pieces.beyond += len(piece) - len(part)
            if pieces.beyond > SPARE_BYTES + needed:
                raise VolumeError(
                    f"{file}: unpacks to far more than the {needed} bytes that its header declares; export it again"
                )
            if not pieces.is_packed and at == needed:
                break
    return Content(data if at == needed else data[:at], pieces.spare)


def require_held(file: Path, needed: int) -> None:
    """Raise VolumeError where a file of one format, packed or not, cannot hold the voxels that its header declares.

    Args:
        file: With its voxels, or beside a file of the same name that has them (`VOXEL_SUFFIXES`).
        needed: Bytes of voxels, unpacked.
    """
    parts = {file, *(file.with_suffix(suffix) for suffix in VOXEL_SUFFIXES)}
    stored = sum(part.stat().st_size for part in parts if part.is_file())
    if needed > stored * MOST_PACKED + START_BYTES:
        raise VolumeError(
            f"{file}: cut short, {stored} bytes cannot hold the {needed} that its header declares; copy it again"
        )


def require_memory(file: Path, needed: float) -> None:
    """Raise VolumeError if the free memory cannot hold what a header declares.

    Args:
        file: What it is called in messages.
        needed: Bytes.
    """
    if needed <= ALWAYS_FREE_BYTES:
        return
    free = free_memory_gib()
    if needed > free * GIB:
        raise VolumeError(
            f"{file}: its header declares {needed / GIB:.1f} GiB of voxels, and {free:.1f} GiB of memory are free; "
            "look whether the header is right, or use a machine with more memory"
        )


def ignored_bytes(spare: int) -> str:
    """Return the words on bytes behind the packed data."""
    return f"{counted(spare, 'byte')} after the end of the packed data are ignored"


def _chain(first: bytes, following: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from following


class _Pieces(Iterator[bytes]):
    """The unpacked bytes of a stream, piece by piece; each of the members of a packed one."""

    def __init__(self, stream: BinaryIO, most: int, chunk: int = CHUNK_BYTES) -> None:
        self._stream, self._most, self._chunk = stream, most, chunk
        self.is_packed = stream.read(2) == GZIP
        self.beyond = 0  # bytes that were unpacked and not needed
        self.spare = 0  # bytes after the last member
        stream.seek(0)
        self._pieces = self._inflate() if self.is_packed else iter(lambda: stream.read(most), b"")

    def __next__(self) -> bytes:
        return next(self._pieces)

    def _inflate(self) -> Iterator[bytes]:
        inflater, packed = zlib.decompressobj(31), b""
        while True:
            packed = packed or self._stream.read(self._chunk)
            if not packed:
                raise EOFError("it ends within the packed data")
            piece = inflater.decompress(packed, self._most)
            yield piece
            while not inflater.eof and (inflater.unconsumed_tail or len(piece) == self._most):
                piece = inflater.decompress(inflater.unconsumed_tail, self._most)
                yield piece
            packed = b""
            if inflater.eof:
                packed = inflater.unused_data.lstrip(b"\0")
                packed = (packed if len(packed) > 1 else packed + self._stream.read(self._chunk)).lstrip(b"\0")
                if packed[:2] != GZIP:
                    self.spare = len(packed) + sum(len(more.strip(b"\0")) for more in iter(self._read, b""))
                    return
                inflater = zlib.decompressobj(31)

    def _read(self) -> bytes:
        return self._stream.read(self._chunk)
