"""Back to the image's own grid: from the probabilities of the classes on the working grid to the mask, exactly.

The mask is that of interpolating all classes linearly to every voxel and taking the most probable one, as torch's
`interpolate(mode="trilinear")` and `argmax` would. Neither all classes of the whole image nor those of the whole
working grid are ever held. Between eight working voxels that agree on their most probable class, interpolation cannot
change the winner, as it is a weighted mean: only the cells along the organs' borders are interpolated.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from autoseg.imaging.grid import Box, Voxels
from autoseg.inference.calibration import Certainty
from autoseg.inference.device_mask import DeviceMask
from autoseg.inference.reliability import Reliability
from autoseg.inference.second_percent import BoxPercent
from autoseg.labels import Atoms, LabelScheme

CHUNK_VALUES = 1 << 22  # probabilities that are interpolated at a time
DENSE = 0.15  # share of cells on borders above which whole planes are interpolated instead
MANY = 32  # classes from which on they are not: most classes of a cell can be left out
SLACK = 1e-6  # of a probability, by which rounding may lift a class that is nowhere as probable as another everywhere


@dataclass(frozen=True)
class _Axis:
    """Where the voxels of one axis of the image lie among the cells between the working grid's voxels."""

    cell: npt.NDArray[np.intp]  # of each voxel: the working voxel before it
    weight: Tensor  # of each voxel: that of the working voxel behind it, 0 to 1; float32
    first: npt.NDArray[np.intp]  # of each cell: its first voxel
    count: npt.NDArray[np.intp]  # of each cell: its voxels


class Upsampler:
    """Takes the probabilities of a volume slab by slab along Z, and paints the mask behind them.

    Slabs on a GPU are painted there: the masks are whole when `finish` was called.
    """

    def __init__(
        self, scheme: LabelScheme, working: Voxels, full: Voxels, keep: bool = False, truth: Atoms | None = None
    ) -> None:
        """Begin a mask.

        Args:
            scheme: Of the classes.
            working: Voxels of the working grid (Z, Y, X).
            full: Voxels of the image, of the same extent (Z, Y, X).
            keep: Whether to keep the probabilities, for `probabilities`.
            truth: Atoms on the working grid, where they are known: how often each probability is right is then counted.
        """
        self._scheme = scheme
        self._kept: list[Tensor] | None = [] if keep else None
        self.mask: Atoms = np.zeros(full, dtype=np.uint8)
        self.coarse: Atoms = np.zeros(working, dtype=np.uint8)  # the mask on the working grid
        self.certainty = Certainty(scheme)
        self.reliability = None if truth is None else Reliability(scheme, truth)
        self.boxes: tuple[Box, ...] = ()  # that a second stage has looked into, voxels of the image
        self.stage_seconds: tuple[float, ...] = ()  # that each of two stages took
        self.looked: tuple[BoxPercent, ...] = ()  # the probabilities of both stages in these, where they are kept
        self.first: Atoms | None = None  # the mask before a second stage has looked again
        self.remarks: tuple[str, ...] = ()  # sentences on what it could not see
        self.notes: tuple[str, ...] = ()  # sentences on how it has looked
        self._axes = tuple(_axis(i, o) for i, o in zip(working, full, strict=True))
        self._on_device: DeviceMask | None = None
        self._last: Tensor | None = None  # slice of probabilities that the next slab's first cells begin with
        self._taken = 0

    def add(self, probabilities: Tensor) -> None:
        """Take the next slices of all classes, float32 (classes, z, Y, X); ties take the lowest class."""
        depth = probabilities.shape[1]
        winner = self._scheme.decide(probabilities)
        self.certainty.add(probabilities, winner)
        if self.reliability is not None:
            self.reliability.add(probabilities.cpu(), self._taken)
        if self._kept is not None:
            self._kept.append(probabilities.half().cpu())
        if probabilities.device.type == "cuda":
            if self._on_device is None:
                cells = self._axes[0].cell, self._axes[0].weight
                self._on_device = DeviceMask(self._scheme, self.coarse.shape, self.mask.shape, cells, winner.device)
            self._on_device.add(probabilities, winner)
            self._taken += depth
            return
        self.coarse[self._taken : self._taken + depth] = winner.numpy()
        if self.mask.shape == self.coarse.shape:
            self.mask[self._taken : self._taken + depth] = winner.numpy()
            self._taken += depth
            return
        first = max(0, self._taken - 1)
        slab = probabilities if self._last is None else torch.cat((self._last, probabilities), dim=1)
        self._taken += depth
        self._last = probabilities[:, -1:].clone()
        if self._taken > 1 or len(self.coarse) == 1:
            self._paint(slab, first)

    def wait(self) -> None:
        """Wait until a GPU has painted what it was given."""
        if self._on_device is not None:
            self._on_device.wait()

    def finish(self) -> Upsampler:
        """Fetch what was painted on a GPU, after the last slices; return this upsampler."""
        if self._on_device is not None:
            self.mask, self.coarse = self._on_device.fetch()
            self._on_device = None
        return self

    def probabilities(self) -> npt.NDArray[np.float16] | None:
        """Return all probabilities, float16 (classes, Z, Y, X) on the working grid; None where nothing was kept."""
        if not self._kept:
            return None
        if len(self._kept) > 1:
            self._kept = [torch.cat(self._kept, dim=1)]  # once: they are held, too
        return self._kept[0].numpy()

    def _paint(self, slab: Tensor, first: int) -> None:
        """Paint all cells between the slices of `slab`, the first of which is working slice `first`."""
        low, high = _extremes(self.coarse[first : first + slab.shape[1]])
        z, y, x = self._axes
        rows = slice(*np.searchsorted(z.cell, (first, first + len(low))))
        if np.mean(low != high) > DENSE and (self._scheme.overlapping or len(slab) < MANY):
            self._interpolate_planes(slab, first, range(rows.start, rows.stop))
            return
        self.mask[rows] = low[:, :, x.cell][:, y.cell][z.cell[rows] - first]
        cells = np.argwhere(low != high)
        cells[:, 0] += first
        counts = np.stack([axis.count[c] for axis, c in zip(self._axes, cells.T, strict=True)], axis=1)
        values = slab.permute(1, 2, 3, 0).contiguous()
        for block in np.unique(counts[counts.all(axis=1)], axis=0):
            alike = cells[(counts == block).all(axis=1)]
            chunk = max(1, CHUNK_VALUES // (max(8, int(block.prod())) * len(slab)))
            for start in range(0, len(alike), chunk):
                self._interpolate(values, first, alike[start : start + chunk], block)

    def _interpolate_planes(self, slab: Tensor, first: int, rows: range) -> None:
        """Paint whole planes of the mask, which is faster where borders are everywhere, as before training."""
        axis, size = self._axes[0], self.mask.shape[1:]
        for z in rows:
            k = int(axis.cell[z]) - first
            plane = torch.lerp(slab[:, k], slab[:, min(k + 1, slab.shape[1] - 1)], axis.weight[z])
            full = interpolate(plane[None].contiguous(), size, mode="bilinear", align_corners=False)[0]
            self.mask[z] = self._scheme.decide(full).numpy()

    def _interpolate(
        self, values: Tensor, first: int, cells: npt.NDArray[np.intp], block: npt.NDArray[np.intp]
    ) -> None:
        """Paint `cells` (N, 3), each of which holds `block` voxels of the image (Z, Y, X)."""
        corners = _corners(values, cells - (first, 0, 0))  # (N, 8, classes)
        if self._scheme.overlapping:
            self._write(cells, block, self._scheme.decide(self._between(corners, cells, block), dim=-1))
            return
        for group, classes in _contenders(corners):
            some = cells[group.numpy()]
            among = corners[group].gather(2, classes[:, None].expand(-1, 8, -1))
            best = self._between(among, some, block).argmax(dim=-1)
            self._write(some, block, classes.gather(1, best.flatten(1)).view_as(best).byte())

    def _voxels(self, cells: npt.NDArray[np.intp], block: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
        """Return the voxels of the image in cells along each axis, (N, block's extent) each."""
        return [a.first[c][:, None] + np.arange(n) for a, c, n in zip(self._axes, cells.T, block, strict=True)]

    def _between(self, corners: Tensor, cells: npt.NDArray[np.intp], block: npt.NDArray[np.intp]) -> Tensor:
        """Return what lies between the corners (N, 8, classes) of cells, at the voxels (N, Z, Y, X, classes)."""
        voxels = self._voxels(cells, block)
        z, y, x = (axis.weight[torch.from_numpy(v)] for axis, v in zip(self._axes, voxels, strict=True))
        corners = corners.reshape(len(cells), 2, 2, 2, -1)
        along_z = torch.lerp(corners[:, None, 0], corners[:, None, 1], z[:, :, None, None, None])
        along_y = torch.lerp(along_z[:, :, None, 0], along_z[:, :, None, 1], y[:, None, :, None, None])
        return torch.lerp(along_y[..., None, 0, :], along_y[..., None, 1, :], x[:, None, None, :, None])

    def _write(self, cells: npt.NDArray[np.intp], block: npt.NDArray[np.intp], winner: Tensor) -> None:
        """Write the winners (N, Z, Y, X) into cells of the mask."""
        z, y, x = self._voxels(cells, block)
        self.mask[z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]] = winner.numpy()


def _contenders(corners: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield groups of cells, and the classes that can win somewhere in each of their cells, ascending (cells, n).

    Interpolation is a weighted mean: what is less probable at every corner than another class is at each of them cannot
    win between them. With many classes hardly more than those at the border are left.

    Args:
        corners: Probabilities (cells, 8, classes).
    """
    highest = corners.amax(dim=1)
    bound = corners.amin(dim=1).amax(dim=1, keepdim=True) - SLACK
    count = (highest >= bound).sum(dim=1)
    size, fewer = 2, 0
    while fewer < corners.shape[2]:
        size = min(size, corners.shape[2])
        group = ((count > fewer) & (count <= size)).nonzero()[:, 0]
        if len(group):
            yield group, highest[group].topk(size, dim=1).indices.sort(dim=1).values
        size, fewer = 2 * size, size


def to_percent(probability: npt.NDArray[np.floating[Any]], full: Voxels) -> Atoms:
    """Return a probability on an image's own grid in whole percent, interpolated as for the mask, plane by plane.

    Args:
        probability: Of one class, 0 to 1, on the working grid (Z, Y, X).
        full: Voxels of the image, of the same extent (Z, Y, X).
    """
    axis = _axis(len(probability), full[0])
    percent = np.empty(full, dtype=np.uint8)
    for z, (cell, weight) in enumerate(zip(axis.cell, axis.weight, strict=True)):
        behind = min(cell + 1, len(probability) - 1)
        low, high = (torch.from_numpy(probability[k].astype(np.float32)) for k in (cell, behind))
        plane = torch.lerp(low, high, weight)
        whole = interpolate(plane[None, None], full[1:], mode="bilinear", align_corners=False)[0, 0]
        percent[z] = whole.mul_(100).round_().to(torch.uint8).numpy()
    return percent


def _axis(size_in: int, size_out: int) -> _Axis:
    centres = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    centres = centres.clip(0.0, size_in - 1.0)
    cell = np.minimum(centres.astype(np.intp), max(size_in - 2, 0))
    cells = np.arange(max(size_in - 1, 1))
    first = np.searchsorted(cell, cells)
    count = np.searchsorted(cell, cells, side="right") - first
    return _Axis(cell, torch.from_numpy((centres - cell).astype(np.float32)), first, count)


def _extremes(classes: Atoms) -> tuple[Atoms, Atoms]:
    """Return the lowest and the highest class among the corners of each cell; an axis of one voxel is one cell."""
    low = high = classes
    for axis in range(3):
        if classes.shape[axis] > 1:
            before, behind = (tuple(s if a == axis else slice(None) for a in range(3)) for s in (_BEFORE, _BEHIND))
            low, high = np.minimum(low[before], low[behind]), np.maximum(high[before], high[behind])
    return low, high


_BEFORE, _BEHIND = slice(None, -1), slice(1, None)


def _corners(values: Tensor, cells: npt.NDArray[np.intp]) -> Tensor:
    """Return the probabilities at the corners of cells: (N, 8, classes) of (Z, Y, X, classes)."""
    ends = [
        [torch.from_numpy(np.minimum(c + i, n - 1)) for i in (0, 1)]
        for c, n in zip(cells.T, values.shape[:3], strict=True)
    ]
    corners = [values[ends[0][i], ends[1][j], ends[2][k]] for i, j, k in itertools.product((0, 1), repeat=3)]
    return torch.stack(corners, dim=1)
