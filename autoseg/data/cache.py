"""The cache: one case is a few .npy files that are read by memory map, so that a crop costs what it holds."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from autoseg.digests import digest, files_digest
from autoseg.errors import RunError
from autoseg.files import atomic_path, write_text
from autoseg.imaging.grid import Grid, working_shape
from autoseg.json_file import read_json
from autoseg.labels import IGNORED
from autoseg.plan import Plan
from autoseg.words import counted

ARRAYS = ("image", "label", "organs")  # of a case, one file each
ORGAN_VOXELS = 1000  # voxels stored of each organ as possible crop centres
KNOWN_VOXELS = 10_000  # voxels stored of those whose truth is known, where it is not known everywhere
NO_MAP = (errno.ENODEV, errno.EINVAL, errno.EPERM)  # of a file system that maps no files, as some network mounts
ON_DISK = {"source_digest": "source_key", "plan_digest": "plan_key"}  # their names in a record, for older versions

OrganVoxels = npt.NDArray[np.int16] | npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class CaseKey:
    """Where a cached case is, and whose: all that a worker holds of each of very many."""

    folder: Path
    id: str
    patient: str

    def case(self) -> CachedCase:
        """Read its record.

        Raises:
            RunError: If there is no readable one.
        """
        case = read_case(self.folder, self.id)
        if case is None:
            raise RunError(f"{_record_file(self.folder, self.id)}: cannot be read; run `autoseg preprocess` again")
        return case


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedCase:
    """One preprocessed case; holds paths and small facts, opens its arrays when asked."""

    id: str
    folder: Path
    patient: str  # crops of one batch come from different patients
    source_digest: str  # of files and code that it was made from: another one means stale
    plan_digest: str  # of what the plan says about the cache: another one means stale
    grid: Grid  # the image's own, LPS
    stored: Grid  # the image's own, as in the file
    working: Grid  # of the cached arrays, LPS
    hidden: tuple[int, ...] = ()  # classes that the label map does not show: what they are is background in it
    arrays: str = ""  # a digest of the files of the three arrays; "" in a record of before digests
    images: str = ""  # a digest of the image files that it was made from; "" in a record of before

    @property
    def key(self) -> CaseKey:
        """What finds the case again."""
        return CaseKey(self.folder, self.id, self.patient)

    @property
    def content_digest(self) -> str:
        """A digest of what a training sees of the case.

        The code and files that it was made from do not count: cached anew with equal bytes, it is the same case, and
        training goes on. A record of before digests is identified by its sources, as in the checkpoints of that time.
        """
        if not self.arrays:
            return f"{self.id} {self.patient} {self.source_digest} {self.plan_digest}"
        return digest(self.id, self.patient, self.plan_digest, self.hidden, self.working, self.arrays)

    @property
    def record_digest(self) -> str:
        """A digest of the case with its place in the patient, and of what it was made from."""
        return digest(self.content_digest, self.source_digest, self.grid, self.stored)

    def is_intact(self) -> bool:
        """Return whether the arrays are, byte for byte, those that were written; true in a record of before digests."""
        return not self.arrays or files_digest(map(self._file, ARRAYS)) == self.arrays

    def image(self) -> npt.NDArray[np.float16]:
        """Open the normalised image, float16 (C, Z, Y, X), memory-mapped."""
        return self._open("image")

    def label(self) -> npt.NDArray[np.uint8]:
        """Open the atoms, uint8 (Z, Y, X), memory-mapped; where organs are disjoint these are the classes."""
        return self._open("label")

    def organs(self) -> OrganVoxels:
        """Open the sample of organ voxels, int16, of very long axes int32, (N, 4): atom, z, y, x; sorted by atom.

        Where the truth is not known everywhere, rows of atom 0 are a sample of the voxels, of any class, where it is.
        """
        return self._open("organs")

    def _file(self, what: str) -> Path:
        return self.folder / f"{self.id}.{what}.npy"

    def _open(self, what: str) -> npt.NDArray[Any]:
        file = self._file(what)
        try:
            try:
                return np.load(file, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
            except OSError as error:
                if error.errno not in NO_MAP:
                    raise
                return np.load(file, allow_pickle=False)  # type: ignore[no-any-return] # whole, each time
        except (OSError, EOFError, ValueError) as error:
            raise RunError(f"{file}: cannot be read ({error}); run `autoseg preprocess` again") from error


def write_case(
    case: CachedCase, image: npt.NDArray[np.floating[Any]], label: npt.NDArray[np.uint8], seed: int
) -> CachedCase:
    """Write a case's arrays, then its record: a case without record does not exist. Return it with their digest.

    Args:
        case: The record.
        image: Normalised image (C, Z, Y, X).
        label: Atoms (Z, Y, X).
        seed: Of the sample of organ voxels.
    """
    arrays: tuple[npt.NDArray[Any], ...] = (image.astype(np.float16), label, _organ_voxels(label, seed))
    files = [case._file(what) for what in ARRAYS]
    _record_file(case.folder, case.id).unlink(missing_ok=True)
    digests = [_save(file, array) for file, array in zip(files, arrays, strict=True)]
    written = replace(case, arrays=digest(*digests))  # as `files_digest` finds it
    record = {ON_DISK.get(name, name): value for name, value in asdict(written).items() if name != "folder"}
    write_text(_record_file(case.folder, case.id), json.dumps(record, indent=1))
    return written


def _save(file: Path, array: npt.NDArray[Any]) -> str:
    """Write an array; return the digest of the file."""
    with atomic_path(file) as beside, beside.open("wb") as stream:
        hashing = _Hashing(stream)
        np.save(hashing, np.asarray(array), allow_pickle=False)
    return hashing.sha256.hexdigest()


class _Hashing:
    """A file that is written to, and the digest of what was written."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.sha256 = stream, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write some bytes; return their number."""
        self.sha256.update(data)
        return self._stream.write(data)


def read_case(folder: Path, case_id: str) -> CachedCase | None:
    """Return the record of a cached case, or None where no readable one exists.

    What cases have in common, and what a case has twice, is held once: of very many cases all records are held.
    """
    try:
        record = read_json(_record_file(folder, case_id), dict)
        grids = {repr(record[name]): _grid(record[name]) for name in ("grid", "stored", "working")}
        return CachedCase(
            id=record["id"],
            folder=folder,
            patient=record["id"] if record["patient"] == record["id"] else record["patient"],
            source_digest=record["source_key"],
            plan_digest=sys.intern(record["plan_key"]),
            grid=grids[repr(record["grid"])],
            stored=grids[repr(record["stored"])],
            working=grids[repr(record["working"])],
            hidden=tuple(record.get("hidden", ())),
            arrays=record.get("arrays", ""),
            images=record.get("images", ""),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_cases(folder: Path, case_ids: Sequence[str], plan_digest: str) -> tuple[CachedCase, ...]:
    """Return the records of cached cases, whose arrays are as they were written.

    They are read to know that, at about 1 GB/s, unless it is remembered (`digests.remembered`).

    Raises:
        RunError: If any is missing, was cached under another plan, or has changed since.
    """
    records = [read_case(folder, case_id) for case_id in case_ids]
    cases = tuple(case for case in records if case is not None and case.plan_digest == plan_digest)
    if len(cases) < len(case_ids):
        cached = {case.id for case in cases}
        first = next(i for i in case_ids if i not in cached)
        raise RunError(
            f"{folder}: not cached for this plan: {counted(len(case_ids) - len(cases), 'case')} ({first} …); "
            "run `autoseg preprocess` first"
        )
    changed = [case.id for case in cases if not case.is_intact()]
    if changed:
        raise RunError(
            f"{folder}: {counted(len(changed), 'case')} changed since written ({changed[0]} …), by another program or "
            "a failing disk; run `autoseg preprocess` again, which makes just these anew"
        )
    return cases


def covering_cases(cases: Sequence[CachedCase], most: int) -> tuple[CachedCase, ...]:
    """Return at most `most` cases, the first ones, but so that every class is shown by one of them where possible."""
    every = set.union(set(), *(set(case.hidden) for case in cases))
    chosen: list[CachedCase] = []
    while len(chosen) < min(most, len(cases)):
        lacking = set.intersection(every, *(set(case.hidden) for case in chosen))
        left = [case for case in cases if case not in chosen]
        chosen.append(max(left, key=lambda case: len(lacking - set(case.hidden))))  # the first of the best
    return tuple(sorted(chosen, key=cases.index))


def cases_digest(cases: Sequence[CachedCase]) -> str:
    """Return a digest of what a training sees of its cases, which its checkpoint notes."""
    return hashlib.sha256("\n".join(case.content_digest for case in cases).encode()).hexdigest()[:32]


def _organ_voxels(label: npt.NDArray[np.uint8], seed: int) -> OrganVoxels:
    rng = np.random.default_rng(seed)
    rows = []
    flat = np.flatnonzero(label)
    atoms = label.ravel()[flat]
    places = {int(value): flat[atoms == value] for value in np.unique(atoms)}
    if places.pop(IGNORED, None) is not None:
        places = {0: np.flatnonzero(label != IGNORED), **places}
    for value, of_value in places.items():
        chosen = np.sort(rng.permutation(len(of_value))[: ORGAN_VOXELS if value else KNOWN_VOXELS])
        voxels = np.stack(np.unravel_index(of_value[chosen], label.shape), axis=1)
        rows.append(np.concatenate([np.full((len(voxels), 1), value), voxels], axis=1))
    listed = np.concatenate(rows) if rows else np.zeros((0, 4), dtype=np.int16)
    fits = max(label.shape) <= np.iinfo(np.int16).max  # as all do but a whole slide
    return listed.astype(np.int16) if fits else listed.astype(np.int32)


def _record_file(folder: Path, case_id: str) -> Path:
    return folder / f"{case_id}.json"


def _grid(values: dict[str, Any]) -> Grid:
    parts: dict[str, Any] = {name: tuple(value) for name, value in values.items()}
    if "direction" in parts:
        parts["direction"] = _shared(str(parts["direction"]), parts["direction"])
    return Grid(**parts)


@lru_cache(maxsize=64)
def _shared(text: str, numbers: tuple[float, ...]) -> tuple[float, ...]:
    """Return the numbers that came first with this text, which tells zeros of either sign apart."""
    return numbers


def cache_bytes(plan: Plan, grids: Sequence[Grid]) -> int:
    """Return the bytes that cases will take: float16 images, uint8 label maps, samples of the organs' voxels.

    Args:
        plan: What they are preprocessed by.
        grids: Of the images.
    """
    voxels = sum(math.prod(working_shape(grid, plan.spacing_mm, plan.downsampling, plan.flat)) for grid in grids)
    return voxels * (2 * len(plan.channels) + 1) + len(grids) * len(plan.labels) * 8 * ORGAN_VOXELS
