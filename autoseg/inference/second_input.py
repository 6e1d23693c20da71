"""What a second stage sees: the box of an image around its organs, finely, and where the first stage sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from autoseg.data.preprocess import working_image
from autoseg.imaging.grid import Box, Voxels
from autoseg.imaging.resample import FloatArray
from autoseg.imaging.volumes import Volume
from autoseg.labels import LabelScheme
from autoseg.plan import Plan

Probabilities = npt.NDArray[np.float16]  # of classes on the first stage's working grid, (classes, Z, Y, X)
CONTROL = 6  # voxels between the points that move at random
SLAB_VOXELS = 1 << 22  # that are displaced at a time: their places take nine times their memory


def classes_of(first: LabelScheme, second: LabelScheme) -> tuple[int, ...]:
    """Return which classes of the first stage the organs of a second are, in its order."""
    place = {organ.value: index for index, organ in first.organs.items()}
    return tuple(place[organ.value] for organ in second.labels)


def part_of(volume: Volume, box: Box) -> Volume:
    """Return the part of an image, or of a label map, that lies in a box, as an image of its own."""
    grid = volume.grid
    first = [part.start for part in reversed(box)]  # (X, Y, Z)
    origin = grid.matrix() @ np.array([*first, 1.0])
    z, y, x = (part.stop - part.start for part in box)
    place = (float(origin[0]), float(origin[1]), float(origin[2]))
    own = replace(grid, shape=(z, y, x), origin_mm=place)
    return Volume(array=volume.array[..., *box], grid=own, stored=own)


def second_image(part: Volume, box: Box, full: Voxels, probabilities: FloatArray, plan: Plan) -> FloatArray:
    """Return what a second stage sees, on the working grid of its box, float32 (C, Z, Y, X).

    Args:
        part: The image in the box.
        box: Voxels of the image.
        full: Voxels of the whole image (Z, Y, X).
        probabilities: Of its organs by the first stage, on the first stage's working grid, (organs, Z, Y, X).
        plan: Of the second stage.
    """
    channels = len(plan.channels) - len(plan.labels)
    of_image = plan.model_copy(update={"channels": plan.channels[:channels], "intensity": plan.intensity[:channels]})
    image = working_image(part, of_image)
    z, y, x = image.shape[1:]
    seen = torch.from_numpy(probabilities_in(probabilities, box, full, (z, y, x)))
    # as in the cache; numpy takes 20 times as long for the tiny values that most of these are
    return np.concatenate((image, seen.half().float().numpy()))


def probabilities_in(probabilities: FloatArray, box: Box, full: Voxels, shape: Voxels) -> FloatArray:
    """Return probabilities (C, Z, Y, X) of a whole image interpolated linearly to a grid of `shape` that fills a box.

    Args:
        probabilities: On a grid of the image's extent.
        box: Voxels of the image.
        full: Voxels of the image (Z, Y, X).
        shape: Voxels of the new grid.
    """
    z, y, x = (weights_along(*axis) for axis in zip(probabilities.shape[1:], full, box, shape, strict=True))
    return np.stack([np.tensordot(z, y @ (channel @ x.T), axes=1) for channel in probabilities])


def weights_along(coarse: int, full: int, part: slice, size: int) -> FloatArray:
    """Return the matrix (size, coarse) that interpolates an axis, constant beyond the outer centres.

    Args:
        coarse: Voxels of the grid that is interpolated, over the whole image.
        full: Voxels of the image.
        part: Of these that the new grid fills.
        size: Voxels of the new grid.
    """
    places = part.start + (np.arange(size) + 0.5) * (part.stop - part.start) / size  # from the image's edge
    centres = np.clip(places * coarse / full - 0.5, 0.0, coarse - 1.0)
    before = np.minimum(centres.astype(int), max(coarse - 2, 0))
    weights, rows = np.zeros((size, coarse), dtype=np.float32), np.arange(size)
    weights[rows, before] = 1.0 - (centres - before)
    weights[rows, np.minimum(before + 1, coarse - 1)] += (centres - before).astype(np.float32)
    return weights


def displaced(probability: FloatArray, voxels: float, seed: Sequence[int]) -> FloatArray:
    """Return the probability of an organ (Z, Y, X), displaced by a smooth random field.

    As errors do, this takes away ends and thin parts, and adds some where there is nothing.

    Args:
        probability: On the first stage's working grid.
        voxels: How far a control point moves on each axis, at most; 0: as it is.
        seed: Decides the field.
    """
    if not voxels:
        return probability
    rng = np.random.default_rng(seed)
    fields = [rng.uniform(-voxels, voxels, tuple(n // CONTROL + 2 for n in probability.shape)) for _ in range(3)]
    deep, high, wide = probability.shape
    result = np.empty_like(probability, dtype=np.float32)
    step = max(1, SLAB_VOXELS // (high * wide))
    for start in range(0, deep, step):
        spans = ((start, min(deep, start + step)), (0, high), (0, wide))
        places = np.meshgrid(*(np.arange(*span, dtype=np.float32) for span in spans), indexing="ij")
        between = [place / CONTROL for place in places]
        moved = [
            place + ndimage.map_coordinates(field, between, order=1)
            for place, field in zip(places, fields, strict=True)
        ]
        result[start : start + step] = ndimage.map_coordinates(probability, moved, order=1, mode="nearest")
    return result
