"""Pieces of a class in a mask: runs of voxels along x, joined to pieces. No array as large as the mask is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array, csgraph
from scipy.spatial import cKDTree

from autoseg.imaging.grid import Triple, Voxels
from autoseg.labels import Atoms

Whole = npt.NDArray[np.int64]
Places = tuple[Whole, Whole, Whole]  # z, y, x of voxels, each (voxels,); or rows, starts, stops of runs (Components)
Points = npt.NDArray[np.int32]  # z, y, x of voxels, (voxels, 3)
AT_ONCE = 2**21  # voxels that are looked at or listed at a time
BY_CORNERS = ((0, 1), (1, -1), (1, 0), (1, 1))  # rows (z, y) after a row whose voxels may touch its own
BY_FACES = ((0, 1), (1, 0))
MOST_RUNS = 2**22  # that are joined by a list of those that touch; a mask of more is noise
MOST_LINKED = 1000  # pieces, the largest ones, that can be linked to the largest; a mask of more is noise
SAME_MM = 1e-6  # a gap that is longer than the reach by less than this is rounding


@dataclass(frozen=True, kw_only=True)
class Components:
    """The runs that a class's voxels make along x, in the order of memory, and the piece of each."""

    shape: Voxels  # of the mask (Z, Y, X)
    rows: Whole  # z · (Y + 1) + y of each run; the last y is left empty, so that rows side by side are neighbours
    starts: Whole  # x of each run's first voxel
    stops: Whole  # x after each run's last voxel
    piece: npt.NDArray[np.int32]  # of each run, counted from 0 in the order of memory
    count: int  # pieces

    @property
    def sizes(self) -> Whole:
        """Voxels of each piece."""
        return np.bincount(self.piece, self.stops - self.starts, self.count).astype(np.int64)

    def voxels(self, chosen: npt.NDArray[np.bool_]) -> Iterator[Places]:
        """Yield the voxels of the chosen pieces, bool (pieces,), about AT_ONCE at a time."""
        runs = np.flatnonzero(chosen[self.piece])
        ends = np.cumsum(self.stops[runs] - self.starts[runs])
        if len(runs):
            for part in np.split(runs, np.searchsorted(ends, np.arange(AT_ONCE, ends[-1], AT_ONCE))):
                yield self._listed(part)

    def at_border(self, flat: int | None = None) -> npt.NDArray[np.bool_]:
        """Return which pieces reach the border of the mask, bool (pieces,).

        Args:
            flat: Number of the axis (Z, Y, X) across which this is one of several slices: there it has no border.
        """
        depth, height, width = self.shape
        z, y = np.divmod(self.rows, height + 1)
        along_z, along_y = (z == 0) | (z == depth - 1), (y == 0) | (y == height - 1)
        ends = along_z, along_y, (self.starts == 0) | (self.stops == width)
        outer = np.logical_or.reduce([end for axis, end in enumerate(ends) if axis != flat])
        return np.bincount(self.piece, np.broadcast_to(outer, self.piece.shape), self.count) > 0

    def of(self, places: Places) -> npt.NDArray[np.int32]:
        """Return the piece of voxels of the class."""
        z, y, x = places
        pitch = self.shape[2] + 2
        keys = (z * (self.shape[1] + 1) + y) * pitch + x
        return np.asarray(self.piece[np.searchsorted(self.rows * pitch + self.starts, keys, side="right") - 1])

    def _listed(self, runs: Whole) -> Places:
        lengths = self.stops[runs] - self.starts[runs]
        z, y = np.divmod(np.repeat(self.rows[runs], lengths), self.shape[1] + 1)
        return z, y, _ranges(self.starts[runs], lengths)


def find_components(mask: Atoms, label: int, *, outside: bool = False) -> Components:
    """Return the pieces of a class, whose voxels share at least a corner; or those of all that is not of the class.

    Args:
        mask: Class indices (Z, Y, X).
        label: Of the class.
        outside: The pieces of what lies outside the class, whose voxels share a face.
    """
    rows, starts, stops = _runs(mask, label, outside)
    join = _joined_in_mask if len(rows) > MOST_RUNS else _joined
    piece, count = join(mask, label, outside, (rows, starts, stops))
    z, y, x = mask.shape
    return Components(shape=(z, y, x), rows=rows, starts=starts, stops=stops, piece=piece, count=count)


def linked_components(
    mask: Atoms, label: int, pieces: Components, among: npt.NDArray[np.bool_], spacing_mm: Triple, reach_mm: float
) -> npt.NDArray[np.bool_]:
    """Return which pieces are linked to the largest one: by a gap within the reach, or by a chain of such gaps.

    The gap between two pieces is the least distance between the centre of a voxel of one and the centre of a voxel of
    the other: two spacings where one voxel is missing between them on an axis.

    Args:
        mask: Class indices (Z, Y, X).
        label: Of the class.
        pieces: Of the class.
        among: Which of them count, bool (pieces,); the MOST_LINKED largest of these take part.
        spacing_mm: Between voxel centres (Z, Y, X).
        reach_mm: Longest gap.

    Returns:
        Bool (pieces,); the largest piece, of several the first, is linked. All False where none counts.
    """
    sizes = np.where(among, pieces.sizes, 0)
    order = np.argsort(-sizes, kind="stable")[:MOST_LINKED]
    order = order[sizes[order] > 0]
    linked = np.zeros(pieces.count, np.bool_)
    linked[order[:1]] = True
    if len(order) < 2:
        return linked
    taking_part = np.zeros(pieces.count, np.bool_)
    taking_part[order] = True
    points, owner = _border_points(mask, label, pieces, taking_part)
    fresh = linked[owner]
    edge, rest = points[fresh], ~fresh
    while len(edge) and rest.any():
        near = _within(points[rest], edge, np.array(spacing_mm), reach_mm)
        new = np.zeros(pieces.count, np.bool_)
        new[owner[rest][near]] = True
        fresh = new[owner]  # what belongs to pieces that were linked before is in no `rest`
        linked |= new
        edge, rest = points[fresh], rest & ~fresh
    return linked


def _border_points(
    mask: Atoms, label: int, pieces: Components, taking_part: npt.NDArray[np.bool_]
) -> tuple[Points, npt.NDArray[np.int32]]:
    """Return the border voxels of the pieces that take part, and the piece of each."""
    points, owners = [], []
    for places in border_voxels(mask, label):
        owner = pieces.of(places)
        own = taking_part[owner]
        points.append(np.column_stack(places)[own].astype(np.int32))
        owners.append(owner[own])
    return np.concatenate(points), np.concatenate(owners)


def _within(
    points: Points, others: Points, spacing_mm: npt.NDArray[np.float64], reach_mm: float
) -> npt.NDArray[np.bool_]:
    """Return which voxels have at least one of the others within the reach, bool (voxels,)."""
    cell = np.maximum(8, np.ceil((reach_mm + SAME_MM) / spacing_mm)).astype(np.int32)
    near = _in_cells_beside(points, others, cell)
    if near.any():
        edge = others[_in_cells_beside(others, points[near], cell)]  # what is far from all need not be in the tree
        tree = cKDTree(edge * spacing_mm, compact_nodes=False, balanced_tree=False)
        gaps, _ = tree.query(points[near] * spacing_mm, distance_upper_bound=reach_mm + SAME_MM)
        near[near] = np.isfinite(gaps)
    return near


def _in_cells_beside(points: Points, others: Points, cell: Points) -> npt.NDArray[np.bool_]:
    """Return which voxels lie in a cell (of `cell` voxels (3,)) that holds one of the others, or beside such a cell."""
    shape = np.maximum(points.max(axis=0), others.max(axis=0)) // cell + 1
    held = np.zeros(shape, np.bool_)
    held[tuple((others // cell).T)] = True
    return np.asarray(ndimage.maximum_filter(held, size=3, mode="constant")[tuple((points // cell).T)])


def border_voxels(mask: Atoms, label: int) -> Iterator[Places]:
    """Yield the voxels of a class that share a face with another class or the mask's border, some slices at a time."""
    depth, height, width = mask.shape
    for first, last in _slabs(mask):
        padded = np.zeros((last - first + 2, height + 2, width + 2), np.bool_)
        low, high = max(first - 1, 0), min(last + 1, depth)
        np.equal(mask[low:high], label, out=padded[low - first + 1 : high - first + 1, 1:-1, 1:-1])
        flat = padded.reshape(-1)
        inner = flat.copy()
        for step in (1, width + 2, (height + 2) * (width + 2)):
            inner[step:] &= flat[:-step]
            inner[:-step] &= flat[step:]
        inner ^= flat
        rest, x = np.divmod(np.flatnonzero(inner), width + 2)
        z, y = np.divmod(rest, height + 2)
        own = (z > 0) & (z <= last - first)
        yield z[own] + first - 1, y[own] - 1, x[own] - 1


def _joined(mask: Atoms, label: int, outside: bool, runs: Places) -> tuple[npt.NDArray[np.int32], int]:
    """Return the piece of each run, and the number of pieces, by the runs that touch."""
    piece, count = np.arange(len(runs[0]), dtype=np.int32), len(runs[0])
    for dz, dy in BY_FACES if outside else BY_CORNERS:
        if count:
            one, other = _touching(*runs, dz * (mask.shape[1] + 1) + dy, mask.shape[2] + 2, not outside)
            links = coo_array((np.ones(len(one)), (piece[one], piece[other])), shape=(count, count))
            count, into = csgraph.connected_components(links, directed=False)
            piece = into[piece]
    return piece, count


def _joined_in_mask(mask: Atoms, label: int, outside: bool, runs: Places) -> tuple[npt.NDArray[np.int32], int]:
    """Return the same as `_joined` at 5 bytes a voxel of the mask: less than the links of very many runs take."""
    structure = ndimage.generate_binary_structure(3, 1 if outside else 3)
    pieces, count = ndimage.label((mask == label) != outside, structure)
    z, y = np.divmod(runs[0], mask.shape[1] + 1)
    return pieces[z, y, runs[1]] - 1, count


def _slabs(mask: Atoms) -> Iterator[tuple[int, int]]:
    """Yield the first and the last slice but one of slabs of about AT_ONCE voxels."""
    step = max(1, AT_ONCE // max(1, mask[:1].size))
    for first in range(0, len(mask), step):
        yield first, min(first + step, len(mask))


def _runs(mask: Atoms, label: int, outside: bool) -> Places:
    """Return the row, start and stop of the runs of a class, or of what is outside it; see Components."""
    _, height, width = mask.shape
    parts = []
    for first, last in _slabs(mask):
        padded = np.zeros((last - first, height, width + 2), np.bool_)
        padded[..., 1:-1] = (mask[first:last] != label) if outside else (mask[first:last] == label)
        row, x = np.divmod(np.flatnonzero(padded[..., 1:] != padded[..., :-1]), width + 1)
        z, y = np.divmod(row[::2], height)
        parts.append(((z + first) * (height + 1) + y, x[::2], x[1::2]))
    rows, starts, stops = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, starts, stops


def _touching(rows: Whole, starts: Whole, stops: Whole, step: int, pitch: int, corners: bool) -> tuple[Whole, Whole]:
    """Return the pairs of runs, one `step` rows after the other, that share a face, or at least a corner."""
    begins, ends = rows * pitch + starts, rows * pitch + stops
    low = np.searchsorted(ends, begins + step * pitch, side="left" if corners else "right")
    high = np.searchsorted(begins, ends + step * pitch, side="right" if corners else "left")
    return np.repeat(np.arange(len(rows)), high - low), _ranges(low, high - low)


def _ranges(starts: Whole, lengths: Whole) -> Whole:
    """Return the numbers from each start on, one range after the other.

    >>> _ranges(np.array([5, 1]), np.array([2, 3])).tolist()
    [5, 6, 1, 2, 3]
    """
    before = np.cumsum(lengths) - lengths
    return np.asarray(np.arange(lengths.sum()) + np.repeat(starts - before, lengths))
