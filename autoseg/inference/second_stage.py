"""A second look, finer, in boxes around some organs; what it sees of them replaces what the first stage saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.imaging.grid import Box, Grid, Voxels, working_shape
from autoseg.imaging.resample import FloatArray, resample_label
from autoseg.imaging.volumes import Volume
from autoseg.inference.calibration import LEAST_PROBABILITY, Sums
from autoseg.inference.cost import Stopwatch
from autoseg.inference.second_boxes import TOUCHING, disjoint, look_boxes, voxels_of, widened
from autoseg.inference.second_input import Probabilities, classes_of, part_of, second_image
from autoseg.inference.second_percent import box_percent
from autoseg.inference.stage import InferenceOptions, Stage
from autoseg.inference.upsample import Upsampler
from autoseg.labels import IGNORED, Atoms, Mask
from autoseg.plan import Plan
from autoseg.words import counted

WIDENINGS = 3  # of boxes out of which organs reach, at most; each goes twice as far as the one before
SPECK = 0.01  # of an organ's voxels in a box: pieces at its side that hold fewer do not say that the organ reaches out
SPECK_MM = 10.0  # that they reach into the box at most
CHUNK_VOXELS = 1 << 20  # that are interpolated at a time


@dataclass(frozen=True, kw_only=True)
class Original:
    """An image on its own grid, for a second look; read when that comes."""

    read: Callable[[], Volume]  # array (C, Z, Y, X)
    truth: Callable[[], Atoms] | None = None  # atoms of the first stage on the same grid, where they are known


def look_again(
    first: Stage, second: Stage, upsampler: Upsampler, original: Original, options: InferenceOptions, watch: Stopwatch
) -> Upsampler:
    """Look at the organs of the second stage again; return the upsampler with its mask made better.

    Args:
        first: Has predicted the image.
        second: Knows some of its organs.
        upsampler: Of the first stage, with the probabilities kept.
        original: The image.
        options: How to predict.
        watch: Gets the time of each phase.
    """
    probabilities = upsampler.probabilities()
    classes = classes_of(first.plan.scheme, second.plan.scheme)
    names = [organ.name for organ in second.plan.labels]
    unseen = [name for index, name in zip(classes, names, strict=True) if not (upsampler.coarse == index).any()]
    upsampler.first = upsampler.mask.copy()
    if unseen:
        so = "had nothing to look at" if unseen == names else "looked around the others alone"
        upsampler.remarks = (f"the first stage finds nothing of {', '.join(unseen)}, so the second {so}",)
    if probabilities is None or unseen == names:
        return upsampler
    with watch.phase("read"):
        volume = original.read()
        truth = None if original.truth is None else original.truth()
    margin_mm = second.plan.margin_mm or 0.0
    boxes = look_boxes(
        upsampler.coarse, classes, volume.grid, margin_mm, _crop_voxels(second.plan, volume.grid),
        is_one=any(how.kind == "per-image" for how in second.plan.intensity),  # which each box would scale for itself
    )  # fmt: skip
    seen_first = probabilities[list(classes)].astype(np.float32)
    look = _Look(second, volume, truth, seen_first, classes, options, watch)
    seen = look.until_whole(boxes, max(margin_mm, *volume.grid.spacing_mm))
    if seen.cut:
        cut = ", ".join(names[atom - 1] for atom in seen.cut)
        upsampler.remarks += (f"{cut}: reach out of the second stage's box, though it was widened",)
    upsampler.boxes, upsampler.notes = tuple(one.box for one in seen.parts), (seen.in_words(volume.grid.shape),)
    with watch.phase("upsample"):
        for one in seen.parts:
            _paste(upsampler, one, probabilities, classes, options.probabilities)
        _replace_counts(upsampler, seen.parts, seen_first, classes)
    return upsampler


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What the second stage sees in one box."""

    box: Box  # voxels of the image
    result: Upsampler

    def cut_at(self, grid: Grid) -> tuple[list[set[int]], list[set[int]]]:
        """Return the organs that reach out of the box into the image, at its sides before and behind each axis."""
        mask = self.result.mask

        def organs(axis: int, is_within: bool, *, behind: bool) -> set[int]:
            from_side = np.moveaxis(mask, axis, 0)[:: -1 if behind else 1]
            present = set(np.unique(from_side[0]).tolist()) - {0} if is_within else set[int]()
            slab = from_side[: math.ceil(SPECK_MM / grid.spacing_mm[axis])]
            return {n for n in present if _reaches_out(slab == n, SPECK * np.count_nonzero(mask == n))}

        sides = list(enumerate(zip(self.box, grid.shape, strict=True)))
        before = [organs(axis, part.start > 0, behind=False) for axis, (part, _) in sides]
        return before, [organs(axis, part.stop < n, behind=True) for axis, (part, n) in sides]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What the second stage sees in an image."""

    parts: list[_Part]
    widenings: int
    cut: list[int]  # its organs that reach out of their box all the same

    def in_words(self, full: Voxels) -> str:
        """Return where it has looked, as a sentence."""
        count, share = len(self.parts), sum(voxels_of(one.box) for one in self.parts) / math.prod(full)
        widened_times = f", widened {counted(self.widenings, 'time')}, as organs reached out" if self.widenings else ""
        boxes = "one box" if count == 1 else f"{count} boxes"
        return f"the second stage looked at {share:.0%} of the image, in {boxes}{widened_times}"


@dataclass(frozen=True)
class _Look:
    """The second stage, ready for boxes of an image."""

    second: Stage
    volume: Volume
    truth: Atoms | None  # of the first stage on the image's grid, where they are known
    probabilities: FloatArray  # of its organs by the first stage, (organs, Z, Y, X) on the first's working grid
    classes: tuple[int, ...]  # that these are in the first stage
    options: InferenceOptions
    watch: Stopwatch

    def until_whole(self, boxes: tuple[Box, ...], step_mm: float) -> _Seen:
        """Return what the second stage sees; a box is wider where organs reach out of it, and joined to one it meets.

        Args:
            boxes: That do not overlap, voxels of the image.
            step_mm: How far the first widening goes.
        """
        grid, parts, widenings = self.volume.grid, list[_Part](), 0
        while True:
            parts = [one for one in parts if one.box in boxes]  # before others take the memory of what is not needed
            parts = [next((one for one in parts if one.box == box), None) or self.at(box) for box in boxes]
            cuts = [one.cut_at(grid) for one in parts]
            cut = sorted(set[int]().union(*(side for sides in cuts for half in sides for side in half)))
            if not cut or widenings == WIDENINGS:
                return _Seen(parts=parts, widenings=widenings, cut=cut)
            boxes = disjoint(
                widened(one.box, grid, *([step_mm * bool(side) for side in half] for half in sides))
                for one, sides in zip(parts, cuts, strict=True)
            )
            widenings, step_mm = widenings + 1, 2 * step_mm

    def at(self, box: Box) -> _Part:
        """Return what the second stage sees in a box."""
        plan, shape = self.second.plan, self.volume.grid.shape
        with self.watch.phase("resample"):
            part = part_of(self.volume, box)
            image = second_image(part, box, shape, self.probabilities, plan)
            truth = None
            if self.truth is not None:
                atoms = second_atoms(self.truth[box], self.classes)
                truth = resample_label(atoms, working_shape(part.grid, plan.spacing_mm, plan.downsampling))
        result = self.second.infer(image, part.grid.shape, self.options, self.watch, truth)
        return _Part(box=box, result=result)


def _reaches_out(slab: Mask, least: float) -> bool:
    """Return whether what an organ has at a side is more than specks.

    That is if one of the pieces that touch the side goes through the slab, or all of them together have enough voxels.

    Args:
        slab: Where the organ is, from the side on (depth, …).
        least: Voxels that are enough.
    """
    pieces, _ = ndimage.label(slab, TOUCHING)
    at_side, behind = (set(pieces[place].ravel().tolist()) - {0} for place in (0, -1))
    return not at_side.isdisjoint(behind) or int(np.isin(pieces, list(at_side)).sum()) >= least


def _crop_voxels(plan: Plan, grid: Grid) -> Voxels:
    """Return how many voxels of an image a crop of the training saw (Z, Y, X)."""
    spacing_mm = plan.spacing_mm or tuple(f * mm for f, mm in zip(plan.downsampling, grid.spacing_mm, strict=True))
    sides = zip(plan.crop_size, spacing_mm, grid.spacing_mm, strict=True)
    z, y, x = (math.ceil(round(size * fine / mm, 3)) for size, fine, mm in sides)
    return z, y, x


def second_atoms(atoms: Atoms, classes: Sequence[int]) -> Atoms:
    """Return atoms of the first stage as those of a second, to which all other organs are background."""
    table = np.zeros(IGNORED + 1, dtype=np.uint8)
    table[list(classes)] = np.arange(1, len(classes) + 1)
    table[IGNORED] = IGNORED
    return np.asarray(table[atoms])


def _paste(
    upsampler: Upsampler, one: _Part, probabilities: Probabilities, classes: Sequence[int], is_percent_asked: bool
) -> None:
    """Give a box of the mask the organs that the second stage sees, and have the probabilities there agree.

    What it takes away from them becomes what the first stage thinks most likely there beside them.
    """
    inside, full = upsampler.mask[one.box], upsampler.mask.shape
    organs = np.array([0, *classes], dtype=np.uint8)[one.result.mask]
    taken = np.isin(inside, classes) & (organs == 0)
    voxels = np.argwhere(taken) + [part.start for part in one.box]
    inside[taken] = _next_best(probabilities, classes, voxels, full)
    np.copyto(inside, organs, where=organs > 0)
    fine = one.result.probabilities() if is_percent_asked else None
    if fine is not None:
        z, y, x = full
        upsampler.looked += (box_percent(inside, one.box, (z, y, x), probabilities, fine, classes),)


def _replace_counts(
    upsampler: Upsampler, parts: Sequence[_Part], seen_first: FloatArray, classes: Sequence[int]
) -> None:
    """Let an organ's certainty and reliability be what the second stage counts in its boxes.

    What the first stage holds possible outside of them makes the organ less certain: nobody has looked there again.
    """
    image_voxels = [voxels_of(one.box) / one.result.coarse.size for one in parts]  # of one of its working grid
    weights = [voxels / image_voxels[0] for voxels in image_voxels]
    of_first = upsampler.mask.size / upsampler.coarse.size / image_voxels[0]
    outside = np.ones(upsampler.coarse.shape, dtype=bool)
    for one in parts:
        outside[_centres_within(one.box, upsampler)] = False
    sums: dict[int, Sums] = {}
    by_part = [list(one.result.certainty.sums().values()) for one in parts]
    for place, (index, seen) in enumerate(zip(classes, seen_first, strict=True)):
        p, q, n = (sum(w * of[place][k] for w, of in zip(weights, by_part, strict=True)) for k in range(3))
        left = seen[outside]
        sums[index] = (p, q + of_first * float(left[left > LEAST_PROBABILITY].sum(dtype=np.float64)), n)
    upsampler.certainty.replace(sums)
    counts = [list(one.result.reliability.counts().values()) for one in parts if one.result.reliability is not None]
    if upsampler.reliability is not None and counts:
        of_organs = [np.sum(of_parts, axis=0) for of_parts in zip(*counts, strict=True)]
        upsampler.reliability.replace(dict(zip(classes, of_organs, strict=True)))


def _centres_within(box: Box, upsampler: Upsampler) -> Box:
    """Return the voxels of the first stage's working grid whose centres lie in a box of the image."""
    sides = zip(box, upsampler.coarse.shape, upsampler.mask.shape, strict=True)
    z, y, x = (slice(math.ceil(part.start * m / n - 0.5), math.ceil(part.stop * m / n - 0.5)) for part, m, n in sides)
    return z, y, x


def _next_best(
    probabilities: Probabilities, classes: Sequence[int], voxels: npt.NDArray[np.intp], full: tuple[int, ...]
) -> Atoms:
    """Return the most probable of the other classes at voxels (N, 3) of the image; ties take the lowest."""
    others = [index for index in range(len(probabilities)) if index not in classes]
    scale = np.array(probabilities.shape[1:]) / np.array(full)
    best = np.empty(len(voxels), dtype=np.uint8)
    for start in range(0, len(voxels), CHUNK_VOXELS):
        places = ((voxels[start : start + CHUNK_VOXELS] + 0.5) * scale - 0.5).T
        values = [
            ndimage.map_coordinates(probabilities[index].astype(np.float32), places, order=1, mode="nearest")
            for index in others
        ]
        best[start : start + CHUNK_VOXELS] = np.array(others, dtype=np.uint8)[np.argmax(values, axis=0)]
    return best
