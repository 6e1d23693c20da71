"""The text headers of MetaImage and NRRD, read before ITK sees them: what they declare is held against the files.

MetaIO passes a pattern of names to C's printf, names a missing file with another error's text, and makes room for
whatever a header declares.
"""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.contents import MOST_PACKED, START_BYTES, require_memory
from autoseg.imaging.remarks import Remark
from autoseg.words import shortened

FEW_BYTES, HEADER_BYTES = 1 << 12, 1 << 20  # most text headers are shorter; none is longer
META_END, NRRD_END = re.compile(rb"ElementDataFile\s*=[^\n]*\n"), re.compile(rb"\r?\n\r?\n")
META_TYPES = {  # as ITK has them
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
NRRD_BYTES = {
    "char": 1, "int8": 1, "uchar": 1, "uint8": 1, "short": 2, "int16": 2, "ushort": 2, "uint16": 2, "int": 4,
    "int32": 4, "uint": 4, "uint32": 4, "longlong": 8, "int64": 8, "ulonglong": 8, "uint64": 8, "float": 4, "double": 8,
}  # fmt: skip
ONE_NUMBER = re.compile(r"[^%]*%\d{0,3}d[^%]*")  # of a pattern of slices' names
UNKNOWN = Remark(
    code="orientation-unknown",
    found="the header says no orientation; it is read as LPS, and may be mirrored",
    fix="export it again with its orientation, or look whether left and right are as in the others",
    is_doubtful=True,
)
OTHER_LENGTHS = {"m", "cm", "dm", "um", "\u00b5m", "\u03bcm", "nm", "inch", "meter", "metre", "micron", "micrometer"}
ANY_WRAPPER = 47  # of zlib: it finds out by itself whether the bytes are wrapped as zlib or as gzip
OFFSETS = ("Offset", "Position", "Origin", "CenterOfRotation")  # of a MetaImage: a number a dimension
ROTATIONS = ("TransformMatrix", "Rotation", "Orientation")
MOST_DIMENSIONS = 4
LONGEST_FIELD = 500  # characters of a line in an NRRD's header; ITK's parser writes long ones beyond its buffers


@dataclass(frozen=True, kw_only=True)
class _Declared:
    """What a header says of the voxels in one file."""

    voxel_bytes: int  # unpacked
    stored_bytes: int | None  # in the file; None: packed, or as text, and it does not say
    file: Path  # that holds them
    offset: int  # of the first in it


def check_meta_header(file: Path) -> tuple[Remark, ...]:
    """Check what the header of a MetaImage declares; return what is worth knowing of it.

    Raises:
        VolumeError: If it cannot be read, or declares voxels that are not there, a size that the memory cannot hold, a
            spacing that is none, or a pattern of file names that is none.
    """
    fields, end = meta_fields(file)
    spacing = fields.get("ElementSpacing") or fields.get("ElementSize")
    _require_lengths(file, "ElementSpacing", (spacing or "").split())
    _require_millimetres(file, "DistanceUnits", [fields.get("DistanceUnits", "")])
    where = fields["ElementDataFile"]
    _require_counts(file, fields)
    if "%" in where and not ONE_NUMBER.fullmatch(where.split(" ")[0]):
        raise VolumeError(
            f"{file}: ElementDataFile is no pattern of file names ('{where[:40]}'); write one file, such as .mha"
        )
    declared = _meta_declared(file, fields, end)
    if declared is not None:
        _require_voxels(file, declared)
    return _meta_remarks(fields)


def _require_counts(file: Path, fields: Mapping[str, str]) -> None:
    """Refuse fields that do not have as many numbers as there are dimensions: MetaIO writes beyond its arrays."""
    count = _whole_numbers(file, "NDims", [fields.get("NDims", "")])[0]
    expected = {"DimSize": count, "ElementSpacing": count, "ElementSize": count, **dict.fromkeys(OFFSETS, count)}
    expected |= dict.fromkeys(ROTATIONS, count * count)
    for name, numbers in expected.items():
        actual = len(fields[name].split()) if name in fields else numbers
        if actual != numbers or count > MOST_DIMENSIONS:
            raise VolumeError(
                f"{file}: {name} in its header has {actual} numbers for {count} dimensions; export it again"
            )
    _whole_numbers(file, "DimSize", fields.get("DimSize", "").split())


def _meta_declared(file: Path, fields: Mapping[str, str], end: int) -> _Declared | None:
    """Return what a MetaImage's header says of its voxels; None where they lie in several files, or are of no type."""
    where, kind = fields["ElementDataFile"], _meta_type(fields)
    if kind is None or where.split()[:1] == ["LIST"] or "%" in where:
        return None
    declared = math.prod(_meta_shape(file, fields)) * kind.itemsize
    stored = declared if not _is_true(fields, "CompressedData") else _count(fields.get("CompressedDataSize", "0"))
    local = where.upper() == "LOCAL"
    return _Declared(
        voxel_bytes=declared,
        stored_bytes=stored if stored and not _is_text(fields) else None,
        file=file if local else file.parent / where,
        offset=end if local else _count(fields.get("HeaderSize", "0")),
    )


def _meta_type(fields: Mapping[str, str]) -> np.dtype[Any] | None:
    name = META_TYPES.get(fields.get("ElementType", "").removesuffix("_ARRAY"))
    is_big_endian = _is_true(fields, "BinaryDataByteOrderMSB") or _is_true(fields, "ElementByteOrderMSB")
    return None if name is None else np.dtype(f"{'>' if is_big_endian else '<'}{name}")


def _meta_shape(file: Path, fields: Mapping[str, str]) -> tuple[int, ...]:
    """Return the shape of a MetaImage's array, such as (Z, Y, X, C)."""
    sizes = _whole_numbers(file, "DimSize", fields.get("DimSize", "").split())
    return (*sizes[::-1], *_whole_numbers(file, "channels", [fields.get("ElementNumberOfChannels", "1")]))


def _is_true(fields: Mapping[str, str], name: str) -> bool:
    return fields.get(name, "").lower().startswith("t")


def _is_text(fields: Mapping[str, str]) -> bool:
    return fields.get("BinaryData", "True").lower().startswith("f")


def unpack_meta_voxels(file: Path) -> npt.NDArray[Any] | None:
    """Return the voxels (C, Z, Y, X) of a MetaImage that is packed; None where it is not, or has not three dimensions.

    MetaIO unpacks, too, but never ends where the packed bytes are damaged.

    Args:
        file: Of a header that `check_meta_header` has checked.

    Raises:
        VolumeError: If the packed bytes are damaged or too few.
    """
    fields, end = meta_fields(file)
    declared, kind = _meta_declared(file, fields, end), _meta_type(fields)
    if declared is None or kind is None or not _is_true(fields, "CompressedData") or _is_text(fields):
        return None
    try:
        with declared.file.open("rb") as stream:
            stream.seek(declared.offset)
            data = zlib.decompressobj(ANY_WRAPPER).decompress(stream.read(), declared.voxel_bytes)
    except (zlib.error, OSError) as error:
        raise VolumeError(f"{file}: its packed voxels are damaged ({error}); copy it again") from error
    if len(data) < declared.voxel_bytes:
        raise VolumeError(
            f"{file}: cut short, the voxels unpack to {len(data)} of {declared.voxel_bytes} bytes; copy it again"
        )
    array = np.frombuffer(data, kind).reshape(_meta_shape(file, fields))
    return np.moveaxis(array.astype(kind.newbyteorder("="), copy=False), -1, 0) if array.ndim == 4 else None


def _meta_remarks(fields: Mapping[str, str]) -> tuple[Remark, ...]:
    return () if {"TransformMatrix", "Rotation", "Orientation"} & set(fields) else (UNKNOWN,)


def meta_fields(file: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a MetaImage's header up to ElementDataFile, its last, and the byte at which they end."""
    start = _start(file, META_END)
    fields: dict[str, str] = {}
    at = 0
    while "ElementDataFile" not in fields:
        end = start.find(b"\n", at)
        line = start[at : end if end >= 0 else len(start)].decode("utf-8", "surrogateescape")
        name, equals, value = line.partition("=")
        if not line.strip() or not equals:
            if line.strip() or end < 0:
                raise VolumeError(f"{file}: its header has no ElementDataFile; it is cut short, copy it again")
        else:
            fields[name.strip()] = value.strip()
        at = end + 1 if end >= 0 else len(start)
    if not fields["ElementDataFile"]:
        raise VolumeError(f"{file}: its header names no file of voxels (ElementDataFile); export it again")
    return fields, at


def check_nrrd_header(file: Path) -> tuple[Remark, ...]:
    """Check what the header of an NRRD declares; return what is worth knowing of it.

    Raises:
        VolumeError: As `check_meta_header`.
    """
    fields, end = nrrd_fields(file)
    vectors = re.findall(r"\(([^)]*)\)", fields.get("spacedirections", ""))
    _require_lengths(file, "space directions", [n for v in vectors for n in v.split(",")], positive=False)
    _require_lengths(file, "spacings", fields.get("spacings", "").split()[-3:])
    _require_millimetres(file, "space units", re.findall(r'"([^"]*)"', fields.get("spaceunits", "")))
    _require_millimetres(file, "units", re.findall(r'"([^"]*)"', fields.get("units", "")))
    sizes = _whole_numbers(file, "sizes", fields.get("sizes", "").split())
    kinds = fields.get("kinds", "").split()
    if "complex" in kinds:
        raise VolumeError(f"{file}: its voxels are complex numbers; write their magnitude")
    detached = fields.get("datafile")
    if detached is not None and "%" in detached and not ONE_NUMBER.fullmatch(detached.split(" ")[0]):
        raise VolumeError(f"{file}: data file is no pattern of file names ('{detached[:40]}'); write one file")
    voxel = NRRD_BYTES.get(fields.get("type", "").replace(" ", "").removeprefix("signed").replace("unsigned", "u"))
    one_file = detached is None or not ("%" in detached or detached.startswith("LIST"))
    if voxel is not None and one_file:
        declared = math.prod(sizes) * voxel
        _require_voxels(
            file,
            _Declared(
                voxel_bytes=declared,
                stored_bytes=declared if fields.get("encoding", "").lower() == "raw" else None,
                file=file if detached is None else file.parent / detached,
                offset=(end if detached is None else 0) + _count(fields.get("byteskip", "0")),
            ),
        )
    return () if vectors and {"space", "spacedimension"} & set(fields) else (UNKNOWN,)


def _require_millimetres(file: Path, name: str, units: Sequence[str]) -> None:
    """Raise VolumeError where a header gives lengths in another unit, which ITK and most programs leave unheeded."""
    others = [unit for unit in units if unit.strip().lower().removesuffix("s") in OTHER_LENGTHS]
    if others:
        raise VolumeError(f"{file}: {name} in its header is {others[0]}; write its lengths in mm")


def nrrd_fields(file: Path) -> tuple[dict[str, str], int]:
    """Return the fields of an NRRD's header, names without blanks and in lower case, and the byte at which it ends."""
    start = _start(file, NRRD_END)
    ends = NRRD_END.search(start)
    head = start[: ends.start() if ends else len(start)].decode("utf-8", "surrogateescape")
    fields = {}
    for line in head.splitlines()[1:]:
        name, colon, value = line.partition(":")
        if len(line) > LONGEST_FIELD and not (line.startswith("#") or value.startswith("=")):
            raise VolumeError(
                f"{file}: a line of its header has {len(line)} characters ('{shortened(line, 40)}'); export it again"
            )
        if colon and not line.startswith("#") and not value.startswith("="):
            fields[name.replace(" ", "").lower()] = value.strip()
    return fields, ends.end() if ends else len(start)


def nrrd_pairs(file: Path) -> dict[str, str]:
    """Return what programs have written into the header of an NRRD, its lines of `key:=value`."""
    head = NRRD_END.split(_start(file, NRRD_END), maxsplit=1)[0].decode("utf-8", "replace")
    return dict(line.split(":=", 1) for line in head.splitlines()[1:] if ":=" in line and not line.startswith("#"))


def _start(file: Path, end: re.Pattern[bytes]) -> bytes:
    """Return the first bytes of a file, up to the end of its header at least, but no more than `HEADER_BYTES`."""
    try:
        with file.open("rb") as stream:
            start = stream.read(FEW_BYTES)
            while not end.search(start) and len(start) < HEADER_BYTES and (more := stream.read(len(start))):
                start += more
            return start
    except OSError as error:
        raise VolumeError(f"{file}: cannot be read ({error.strerror or error}); check its permissions") from error


def _require_voxels(file: Path, declared: _Declared) -> None:
    """Refuse a header that declares more voxels than its file or the memory can hold."""
    if not os.path.isfile(declared.file):  # false, too, for a name that no file can have
        raise VolumeError(
            f"{file}: its voxels should be in {shortened(declared.file.name)}, which is not there; copy it, too"
        )
    actual = max(0, declared.file.stat().st_size - declared.offset)
    stored = declared.stored_bytes
    if stored is not None and actual < stored:
        raise VolumeError(f"{file}: cut short, the voxels have {actual} of {stored} bytes; copy it again")
    if declared.voxel_bytes > actual * MOST_PACKED + START_BYTES:
        raise VolumeError(
            f"{file}: cut short, {actual} bytes cannot hold the {declared.voxel_bytes} that its header declares; copy "
            "it again"
        )
    require_memory(file, declared.voxel_bytes)


def _whole_numbers(file: Path, name: str, texts: list[str]) -> tuple[int, ...]:
    if not texts or not all(re.fullmatch(r"\d{1,18}", text) and int(text) > 0 for text in texts):
        raise VolumeError(f"{file}: {name} in its header is '{' '.join(texts)[:40]}', not sizes; export it again")
    return tuple(int(text) for text in texts)


def _require_lengths(file: Path, name: str, texts: list[str], positive: bool = True) -> None:
    numbers = [_number(text) for text in texts]
    if not all(math.isfinite(n) and (n > 0 or not positive) for n in numbers):
        raise VolumeError(f"{file}: {name} in its header is '{' '.join(texts)[:40]}', not lengths; export it again")


def _count(text: str) -> int:
    """Return the whole number that a text is; 0 where it is none, or negative."""
    return int(text) if re.fullmatch(r"\d{1,18}", text) else 0


def _number(text: str) -> float:
    """Return the number that a text is; NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
