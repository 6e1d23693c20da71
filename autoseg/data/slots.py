"""Slots of shared memory in which workers leave their batches, so that only a few words of each go through a pipe.

All slots are one block, reserved before the workers start and handed to them as they start. PyTorch's strategy
`file_descriptor` gives such a block no name, so that nothing is left of it whoever is killed, and takes one file
descriptor a process (docs/decisions.md).
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autoseg.machine import GIB, free_shared_memory_gib

logger = logging.getLogger(__name__)
ALIGNED = 64  # bytes: where an array begins
FREE, TAKEN = 0, 1
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """Where a worker has left arrays: a slot, and in it of each its name, its type, its shape, its first byte."""

    slot: int
    arrays: tuple[tuple[str, str, tuple[int, ...], int], ...]


class Slots:
    """Some slots for each of some workers, which fill them; who reads them frees them."""

    def __init__(self, workers: int, of_each: int, slot_bytes: int) -> None:
        """Reserve the memory.

        Raises:
            RuntimeError: If the system does not give so much.
        """
        self.of_each, self.slot_bytes = of_each, _rounded_up(slot_bytes)
        count = workers * of_each
        self._first = _rounded_up(count)  # byte of the first slot; before it one for each slot: FREE or TAKEN
        storage = torch.UntypedStorage._new_shared(self._first + count * self.slot_bytes)  # type: ignore[no-untyped-call]
        self._block = torch.empty(0, dtype=torch.uint8).set_(storage)
        self._block[:count] = FREE

    def store(self, worker: int, arrays: Mapping[str, Array]) -> Stored | None:
        """Copy arrays into a free slot of a worker; None: it has none, or they are too large for one."""
        places = list(_places(arrays))
        own = range(worker * self.of_each, (worker + 1) * self.of_each)
        states = self._block.numpy()
        slot = next((slot for slot in own if states[slot] == FREE), None)
        if slot is None or places[-1].stop > self.slot_bytes:
            return None
        states[slot] = TAKEN
        content = states[self._bytes_of(slot)]
        for place, array in zip(places, arrays.values(), strict=True):
            np.copyto(content[place].view(array.dtype).reshape(array.shape), array)
        told = ((name, array.dtype.str, array.shape) for name, array in arrays.items())
        return Stored(slot, tuple((*words, place.start) for words, place in zip(told, places, strict=True)))

    def load(self, stored: Stored) -> dict[str, Array]:
        """Return the arrays where they lie; when nobody has any of them any more, their slot is free again."""
        content = np.frombuffer(self._block.numpy()[self._bytes_of(stored.slot)].data, np.uint8)
        weakref.finalize(content, self._free, stored.slot).atexit = False  # every array below holds `content`
        return {
            name: content[first : first + np.dtype(kind).itemsize * math.prod(shape)].view(kind).reshape(shape)
            for name, kind, shape, first in stored.arrays
        }

    def _bytes_of(self, slot: int) -> slice:
        first = self._first + slot * self.slot_bytes
        return slice(first, first + self.slot_bytes)

    def _free(self, slot: int) -> None:
        self._block.numpy()[slot] = FREE


def reserve(workers: int, of_each: int, slot_bytes: int) -> Slots | None:
    """Return slots; None, which is said once, where too little memory can be shared, as by default in a container."""
    needed_gib, free_gib = workers * of_each * slot_bytes / GIB, free_shared_memory_gib()
    if needed_gib <= free_gib:
        try:
            return Slots(workers, of_each, slot_bytes)
        except RuntimeError:  # somebody else was faster, or the system shares none
            free_gib = free_shared_memory_gib()
    _tell_of_pipes(round(needed_gib, 2), round(free_gib, 2))
    return None


@cache
def _tell_of_pipes(needed_gib: float, free_gib: float) -> None:
    logger.warning(
        "batches go through pipes, at more work for this process: %.2f GiB of shared memory are to be had, %.2f are "
        "needed; give fewer --workers, or a container --shm-size=%dg or --ipc=host",
        free_gib, needed_gib, math.ceil(needed_gib),
    )  # fmt: skip


def _places(arrays: Mapping[str, Array]) -> Iterator[slice]:
    end = 0
    for array in arrays.values():
        first = _rounded_up(end)
        end = first + array.nbytes
        yield slice(first, end)


def _rounded_up(count: int) -> int:
    return -(-count // ALIGNED) * ALIGNED
