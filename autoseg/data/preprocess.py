"""From files to the cache: one orientation, the working grid, comparable intensities."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoseg.data.cache import CachedCase, read_case, write_case
from autoseg.dataset.load import Case
from autoseg.digests import code_digest, digest, states_of
from autoseg.errors import AutosegError, CasesFailedError, RunError, VolumeError
from autoseg.imaging.contents import ALWAYS_FREE_BYTES
from autoseg.imaging.grid import Grid, Voxels, resized, spacing_text, working_shape
from autoseg.imaging.lattice import require_together
from autoseg.imaging.resample import FloatArray, resample_image, resample_label
from autoseg.imaging.stored import stored_digest
from autoseg.imaging.volumes import Volume, read_image, read_label
from autoseg.labels import Atoms, LabelScheme
from autoseg.machine import GIB, free_memory_gib
from autoseg.plan import Intensity, Plan
from autoseg.pool import Crew, Track, each, untracked
from autoseg.words import counted

CODE = ("data/preprocess.py", "data/cache.py", "imaging", "labels.py")  # what makes a cached case
WORKING_BYTES = 6  # of a voxel on the working grid: float32, and float16 as in the cache


def normalise(image: FloatArray, intensities: Sequence[Intensity]) -> FloatArray:
    """Bring each channel to about zero mean and unit deviation.

    Args:
        image: (C, Z, Y, X).
        intensities: One a channel.
    """
    return np.stack([_normalise_channel(channel, how) for channel, how in zip(image, intensities, strict=True)])


def working_image(volume: Volume, plan: Plan) -> FloatArray:
    """Return an image as the network sees it: on the working grid, normalised, float32 (C, Z, Y, X).

    CT is clipped before it is resampled, so that metal and padding do not bleed into their surroundings. Values are
    rounded as in the cache: a scan is predicted as it is evaluated.

    Raises:
        VolumeError: If the number of channels is not the plan's.
    """
    if len(volume.array) != len(plan.channels):
        raise VolumeError(
            f"the image has {counted(len(volume.array), 'channel')}, the plan {len(plan.channels)} "
            f"({', '.join(plan.channels)})"
        )
    clips = [(how.low, how.high) if how.kind == "ct" else (-np.inf, np.inf) for how in plan.intensity]
    shape = working_shape(volume.grid, plan.spacing_mm, plan.downsampling, plan.flat)
    _require_room(volume.grid, shape, len(plan.channels))
    image = normalise(resample_image(volume.array, shape, clips), plan.intensity)
    return image.astype(np.float16).astype(np.float32)


def _require_room(grid: Grid, shape: Voxels, channels: int) -> None:
    """Refuse an image whose working grid the memory cannot hold, before it is made.

    Raises:
        VolumeError: With the numbers, which show a spacing in the wrong unit.
    """
    needed = math.prod(shape) * channels * WORKING_BYTES
    if needed > ALWAYS_FREE_BYTES and needed > (free := free_memory_gib()) * GIB:
        raise VolumeError(
            f"{grid.shape} voxels of {spacing_text(grid.spacing_mm)} mm (Z, Y, X) make a working grid of {shape}, "
            f"{needed / GIB:.1f} GiB where {free:.1f} are free; look whether the spacing is right, else take a machine "
            "with more memory"
        )


def preprocess(
    sources: Sequence[Case], plan: Plan, folder: Path, crew: int | Crew = 1, track: Track = untracked
) -> int:
    """Cache every case that is not cached yet for this plan; return their number.

    Raises:
        CasesFailedError: When all others are done, if some cases could not be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stale = [source for source in sources if not is_cached(source, plan, folder)]
    # digests of before the files are read
    work = ((one.id, (one, plan, folder, source_digest(one), stored_digest(one.images))) for one in stale)
    failed: dict[str, str] = {}
    for name, result in track(each(_preprocess_case, work, crew), "Preprocessing", len(stale)):
        if isinstance(result, AutosegError):
            failed[name] = str(result)
    if failed:
        raise CasesFailedError("preprocess", failed, done=len(sources) - len(failed))
    return len(stale)


def is_cached(source: Case, plan: Plan, folder: Path) -> bool:
    """Return whether a case is cached for this plan, from these files, by this code, and as it was written."""
    cached = read_case(folder, source.id)
    if cached is None or cached.plan_digest != plan_digest(plan):
        return False
    if cached.source_digest != (source_digest(source) if cached.arrays else _source_state(source)):
        return False
    try:
        whole = cached.image().shape[1:] == cached.label().shape == cached.working.shape
        return whole and cached.organs().shape[1] == 4 and cached.is_intact()
    except (OSError, RunError):
        return False


def read_cached_image(case: CachedCase, source: Case) -> Volume:
    """Read the image that a cached case was made from.

    Raises:
        VolumeError: If it cannot be read, or is another one than it was.
    """
    if case.images and stored_digest(source.images) != case.images:
        raise VolumeError(f"{source.images[0]}: has changed since it was cached; run `autoseg preprocess` first")
    return read_image(source.images)


def _preprocess_case(work: tuple[Case, Plan, Path, str, str]) -> None:
    source, plan, folder, digest_of_source, digest_of_images = work
    scheme = plan.scheme
    image = read_image(source.images)
    label = read_label(source.label_files, image.grid, scheme)
    require_together(source.id, label.grid, image.grid)
    array = working_image(image, plan)
    case = CachedCase(
        id=source.id,
        folder=folder,
        patient=source.patient,
        source_digest=digest_of_source,
        plan_digest=plan_digest(plan),
        grid=image.grid,
        stored=image.stored,
        working=resized(image.grid, array.shape[1:]),
        hidden=scheme.hidden(source.shows),
        images=digest_of_images,
    )
    atoms = scheme.encode(label.array, source.id)
    _require_labelled(case, atoms, scheme)
    write_case(case, array, resample_label(atoms, case.working.shape), seed=zlib.crc32(source.id.encode()))


def _require_labelled(case: CachedCase, atoms: Atoms, scheme: LabelScheme) -> None:
    """Refuse a label map that has organs which the dataset says it does not show."""
    against = [scheme.organs[index].name for index in case.hidden if scheme.class_mask(atoms, index).any()]
    if against:
        raise VolumeError(
            f"{case.id}: the label map has {', '.join(against)}, which the dataset does not name as labelled in it; "
            "name it under labelled, or remove it from the label map"
        )


def _normalise_channel(channel: FloatArray, how: Intensity) -> FloatArray:
    if how.kind == "ct":
        return (np.clip(channel, how.low, how.high) - np.float32(how.mean)) / np.float32(how.std)
    low, high = np.percentile(channel, (how.low, how.high))
    if low == high:  # all but a few voxels are alike, as in PET: what differs is what there is to see
        low, high = channel.min(), channel.max()
    clipped = np.clip(channel, low, high)
    deviation = float(clipped.std())
    return np.asarray((clipped - clipped.mean()) / (deviation if deviation > 0 else 1.0), dtype=np.float32)


def source_digest(source: Case) -> str:
    """Return a digest of a case's files, of what the dataset says of it, and of the code that caches it."""
    files = stored_digest((*source.images, *source.label_files))
    return digest(files, source.patient, source.labelled, code_digest(*CODE), *(("mask",) if source.is_mask else ()))


def plan_digest(plan: Plan) -> str:
    """Return a digest of what a plan says about the cache; plans of one digest can share a cache, and an ensemble."""
    parts = plan.model_dump_json(
        include={"downsampling", "spacing_mm", "flat_axis", "labels", "regions", "ignored", "intensity", "channels"}
    )
    return hashlib.sha256(f"1 {parts}".encode()).hexdigest()[:32]  # the number is part of what models are compared by


def _source_state(source: Case) -> str:
    """Return what a record of before digests notes of its source files: their names, sizes and times."""
    state = hashlib.sha256(source.patient.encode())
    if source.labelled is not None:
        state.update(f"labelled {source.labelled}\n".encode())
    if source.is_mask:
        state.update(b"mask\n")
    state.update(repr(states_of((*source.images, *source.label_files))).encode())
    return state.hexdigest()[:32]
