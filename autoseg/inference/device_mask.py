"""A mask painted on a GPU, where interpolating every voxel costs less than asking which of them lie on borders.

Nothing here looks at a value on the device, so that the host launches slab after slab without waiting for any.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from autoseg.labels import Atoms, LabelScheme
from autoseg.network.device import send

CHUNK_VALUES = 1 << 24  # probabilities that are interpolated at a time


def painting_bytes(classes: int, slices: int, working: tuple[int, ...], full: tuple[int, ...]) -> int:
    """Return what painting takes of a device at most, beside the network.

    Args:
        classes: Of the network.
        slices: Of a tile.
        working: Voxels of the working grid (Z, Y, X).
        full: Voxels of the image (Z, Y, X).
    """
    slabs = 3 * 4 * classes * slices * math.prod(working[1:])  # sums over tiles, those that are done, and joined
    planes = 3 * 4 * max(CHUNK_VALUES, classes * math.prod(full[1:]))  # interpolated, copied, the highest so far
    return slabs + planes + math.prod(working) + math.prod(full)


class DeviceMask:
    """The masks of a volume on the working grid and on the image's own, on a device, slab by slab along Z."""

    def __init__(
        self,
        scheme: LabelScheme,
        working: tuple[int, ...],
        full: tuple[int, ...],
        cells: tuple[npt.NDArray[np.intp], Tensor],
        device: torch.device,
    ) -> None:
        """Begin masks of background.

        Args:
            scheme: Of the classes.
            working: Voxels of the working grid (Z, Y, X).
            full: Voxels of the image, of the same extent (Z, Y, X).
            cells: Of each slice of the image, in order: the working slice before it, and the weight of the one behind.
            device: Of the slabs.
        """
        self._scheme = scheme
        self._coarse = torch.zeros(working, dtype=torch.uint8, device=device)
        self._mask = torch.zeros(full, dtype=torch.uint8, device=device) if full != working else self._coarse
        self._cell_of = cells[0]
        self._cells, self._weights = (send(values, device) for values in (torch.from_numpy(cells[0]), cells[1]))
        self._last: Tensor | None = None  # slice of probabilities that the next slab's first cells begin with
        self._taken = 0

    def add(self, probabilities: Tensor, winner: Tensor) -> None:
        """Take the next slices of all classes, float32 (classes, z, Y, X), and the atoms that they speak for."""
        first, end = max(0, self._taken - 1), self._taken + probabilities.shape[1]
        self._coarse[self._taken : end] = winner
        self._taken = end
        if self._mask is self._coarse:
            return
        slab = probabilities if self._last is None else torch.cat((self._last, probabilities), dim=1)
        self._last = probabilities[:, -1:].clone()
        between = end - 1 if len(self._coarse) > 1 else 1  # cells lie between slices: the last slice begins none
        start, stop = np.searchsorted(self._cell_of, (first, between))
        self._paint(slab, first, int(start), int(stop))

    def wait(self) -> None:
        """Wait until all slices are painted."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        event.synchronize()

    def fetch(self) -> tuple[Atoms, Atoms]:
        """Return the masks on the image's own grid and on the working grid, on the host; wait for the device."""
        coarse: Atoms = self._coarse.cpu().numpy()
        return coarse.copy() if self._mask is self._coarse else self._mask.cpu().numpy(), coarse

    def _paint(self, slab: Tensor, first: int, start: int, stop: int) -> None:
        """Paint slices `start` to `stop` of the image; working slice `first` is the slab's first."""
        height, width = self._mask.shape[1:]
        chunk = max(1, CHUNK_VALUES // (len(slab) * height * width))
        for begin in range(start, stop, chunk):
            part = slice(begin, min(begin + chunk, stop))
            before = self._cells[part] - first
            behind = (before + 1).clamp_(max=slab.shape[1] - 1)
            low, high = (slab.index_select(1, index).transpose(0, 1) for index in (before, behind))
            planes = torch.lerp(low, high, self._weights[part, None, None, None])
            values = interpolate(planes.contiguous(), (height, width), mode="bilinear", align_corners=False)
            self._mask[part] = self._scheme.decide(values, dim=1)
