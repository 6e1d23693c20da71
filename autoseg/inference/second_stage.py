"""A second look, finer, in a box around some organs; what it sees of them replaces what the first stage saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.imaging.grid import Box, Voxels, working_shape
from autoseg.imaging.resample import FloatArray, resample_label
from autoseg.imaging.volumes import Volume
from autoseg.inference.cost import Stopwatch
from autoseg.inference.second_input import Probabilities, classes_of, first_box, part_of, second_image, widened
from autoseg.inference.second_percent import box_percent
from autoseg.inference.stage import InferenceOptions, Stage
from autoseg.inference.upsample import Upsampler
from autoseg.labels import IGNORED, Atoms

LOOKS = 3  # at most; from the second on the box is wider where the organs reach out of it
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
    names = ", ".join(organ.name for organ in second.plan.labels)
    unseen = [
        organ.name
        for index, organ in zip(classes, second.plan.labels, strict=True)
        if not (upsampler.coarse == index).any()
    ]
    upsampler.first = upsampler.mask.copy()
    full = _voxels(upsampler.mask)
    box = first_box(upsampler.coarse, classes, full)
    if box is None or probabilities is None:
        upsampler.remarks = (f"the first stage finds nothing of {names}, so the second had nothing to look at",)
        return upsampler
    if unseen:
        upsampler.remarks = (
            f"the first stage finds nothing of {', '.join(unseen)}, so the second looked around the others alone",
        )
    with watch.phase("read"):
        volume = original.read()
    margin_mm = [second.plan.margin_mm or 0.0] * 3
    box = widened(box, volume.grid, margin_mm, margin_mm)
    look = _Look(second, volume, original, probabilities[list(classes)].astype(np.float32), classes, options, watch)
    for number in range(LOOKS):
        seen = look.at(box)
        before, behind = _cut_sides(seen.mask, box, full)
        if not any((*before, *behind)):
            break
        if number == LOOKS - 1:
            upsampler.remarks += (f"{names}: reach out of the second stage's box, though it was widened",)
            break
        further = ([mm * cut for mm, cut in zip(margin_mm, side, strict=True)] for side in (before, behind))
        box = widened(box, volume.grid, *further)
    upsampler.box = box
    with watch.phase("upsample"):
        _paste(upsampler, seen, box, probabilities, classes)
        if options.probabilities and (fine := seen.probabilities()) is not None:
            upsampler.looked = box_percent(upsampler.mask[box], box, full, probabilities, fine, classes)
    return upsampler


@dataclass(frozen=True)
class _Look:
    """The second stage, ready for boxes of an image."""

    second: Stage
    volume: Volume
    original: Original
    probabilities: FloatArray  # of its organs by the first stage, (organs, Z, Y, X) on the first's working grid
    classes: tuple[int, ...]  # that these are in the first stage
    options: InferenceOptions
    watch: Stopwatch

    def at(self, box: Box) -> Upsampler:
        """Return what the second stage sees in a box."""
        plan, shape = self.second.plan, self.volume.grid.shape
        with self.watch.phase("resample"):
            part = part_of(self.volume, box)
            image = second_image(part, box, shape, self.probabilities, plan)
            truth = None
            if self.original.truth is not None:
                atoms = second_atoms(self.original.truth()[box], self.classes)
                truth = resample_label(atoms, working_shape(part.grid, plan.spacing_mm, plan.downsampling))
        return self.second.infer(image, part.grid.shape, self.options, self.watch, truth)


def second_atoms(atoms: Atoms, classes: Sequence[int]) -> Atoms:
    """Return atoms of the first stage as those of a second, to which all other organs are background."""
    table = np.zeros(IGNORED + 1, dtype=np.uint8)
    table[list(classes)] = np.arange(1, len(classes) + 1)
    table[IGNORED] = IGNORED
    return np.asarray(table[atoms])


def _cut_sides(seen: Atoms, box: Box, full: Voxels) -> tuple[list[bool], list[bool]]:
    """Return on which sides of a box, first and last voxel of each axis, organs reach out of it into the image."""
    before, behind = [], []
    for axis, (part, n) in enumerate(zip(box, full, strict=True)):
        before.append(part.start > 0 and bool(seen.take(0, axis).any()))
        behind.append(part.stop < n and bool(seen.take(-1, axis).any()))
    return before, behind


def _paste(
    upsampler: Upsampler, seen: Upsampler, box: Box, probabilities: Probabilities, classes: Sequence[int]
) -> None:
    """Give a box of the mask the organs that the second stage sees.

    What it takes away from them becomes what the first stage thinks most likely there beside them.
    """
    inside = upsampler.mask[box]
    organs = np.array([0, *classes], dtype=np.uint8)[seen.mask]
    taken = np.isin(inside, classes) & (organs == 0)
    voxels = np.argwhere(taken) + [part.start for part in box]
    inside[taken] = _next_best(probabilities, classes, voxels, upsampler.mask.shape)
    np.copyto(inside, organs, where=organs > 0)
    estimates = dict(zip(classes, seen.certainty.estimates(), strict=True))
    upsampler.certainty.replace(estimates)
    if upsampler.reliability is not None and seen.reliability is not None:
        counts = seen.reliability.counts()
        upsampler.reliability.replace(dict(zip(classes, counts.values(), strict=True)))


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


def _voxels(mask: Atoms) -> Voxels:
    z, y, x = mask.shape
    return z, y, x
