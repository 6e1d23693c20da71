"""Memory: what reading and measuring the largest case takes, and how many processes that leaves room for."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from autoseg.dataset.case import Case
from autoseg.errors import AutosegError
from autoseg.imaging.grid import Grid, to_lps
from autoseg.imaging.volumes import read_header
from autoseg.machine import GIB, free_memory_gib, usable_cores
from autoseg.words import counted

logger = logging.getLogger(__name__)
LOOKED_AT = 8  # cases whose headers are read: those of the largest files
EXAMINING_BYTES = 15.0  # of a voxel and channel, while a case is read and examined; measured
PROCESS_GIB = 0.35  # Python with its libraries; measured
FREE_SHARE = 0.8  # of the free memory that processes may take


def jobs_for(cases: Sequence[Case], asked: int | None, channel_bytes: Callable[[Grid], float]) -> int:
    """Return how many processes read cases at a time: as the user asks, else one a core, as far as memory goes.

    Args:
        cases: To be read. Only the headers of a few with the largest files are.
        asked: By the user.
        channel_bytes: What one case takes at most for each channel, by the grid of its image (LPS).
    """
    cores = usable_cores()
    if asked is not None or cores == 1:
        return asked or 1
    gib, free = PROCESS_GIB + largest_bytes(cases, channel_bytes) / GIB, free_memory_gib()
    fitting = max(1, int(FREE_SHARE * free / gib))
    if fitting < min(cores, len(cases)):
        logger.warning(
            "memory for %s at a time, not for one on each of %d cores: the largest takes about %.1f GiB, %.1f are "
            "free; -j N overrides it",
            counted(fitting, "case"), cores, gib, free,
        )  # fmt: skip
    return min(cores, fitting)


def examining_bytes(grid: Grid) -> float:
    """Return what reading and examining an image takes for each channel."""
    return EXAMINING_BYTES * math.prod(grid.shape)


def largest_bytes(cases: Collection[Case], channel_bytes: Callable[[Grid], float]) -> float:
    """Return what the largest case takes, all channels of its image counted; 0 where no header can be read."""
    by_size = sorted(cases, key=lambda case: sum(map(_stored_bytes, case.images)), reverse=True)
    return max((_bytes(case, channel_bytes) for case in by_size[:LOOKED_AT]), default=0.0)


def _bytes(case: Case, channel_bytes: Callable[[Grid], float]) -> float:
    with suppress(AutosegError):  # what is wrong with the case is told where it is read
        headers = [read_header(file) for file in case.images]
        return sum(header.channels * channel_bytes(to_lps(header.grid)[1]) for header in headers)
    return 0.0


def _stored_bytes(file: Path) -> int:
    """Return the bytes of a file; of a folder, as of a DICOM series, about those of the files in it."""
    with suppress(OSError):
        if file.is_dir():
            with os.scandir(file) as entries:
                sizes = (entry.stat().st_size for entry in islice(entries, 1))
                return next(sizes, 0) * (1 + sum(1 for _ in entries))
        return file.stat().st_size
    return 0
