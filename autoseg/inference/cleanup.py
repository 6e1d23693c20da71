"""Anatomical clean-up of masks: pieces that lie apart and holes, organ by organ, only where it was seen to help.

An organ's rules are chosen on validation cases: each is taken only if the organ's mean Dice over them grows by it
(Roth et al. 2018 name disconnected and isolated regions as future work). They are stored in the model with their gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import ndimage

from autoseg.inference.back import Classes
from autoseg.metrics.overlap import overlap
from autoseg.plan import Part

Mask = npt.NDArray[np.bool_]  # (Z, Y, X)
TOUCHING = np.ones((3, 3, 3))  # voxels that share a corner belong together
LEAST_GAIN = 5e-4  # of the mean Dice, that makes a rule worth having
LEAST_SHARES = (0.02, 0.1)  # of the organ's smallest volume in the validation cases: sizes of pieces to try


class Cleanup(Part):
    """What is done to one organ's mask."""

    label: Annotated[int, Field(ge=1, le=255)]  # class index
    largest: bool = False  # only the largest piece is kept
    smallest_ml: Annotated[float, Field(ge=0)] = 0.0  # smaller pieces are removed
    holes: bool = False  # background that the organ encloses is filled
    gain: float = 0.0  # of the organ's mean Dice over the validation cases

    @property
    def does_nothing(self) -> bool:
        """Whether the mask stays as it is."""
        return not (self.largest or self.smallest_ml or self.holes)


def clean(mask: Classes, rules: Sequence[Cleanup], voxel_ml: float) -> None:
    """Clean a mask in place; what an organ loses becomes background, and it takes holes from background alone.

    Args:
        mask: Class indices (Z, Y, X).
        rules: At most one an organ.
        voxel_ml: Volume of a voxel.
    """
    boxes = ndimage.find_objects(mask)
    for rule in rules:
        box = boxes[rule.label - 1] if rule.label <= len(boxes) else None
        if box is not None and not rule.does_nothing:
            part = mask[box]
            before = part == rule.label
            after = _cleaned(before, part == 0, rule, voxel_ml)
            part[before & ~after] = 0
            part[after & ~before] = rule.label


def choose_cleanup(
    masks: Sequence[Classes], truths: Sequence[Classes], classes: int, voxels_ml: Sequence[float]
) -> tuple[Cleanup, ...]:
    """Return the rules that raise the mean Dice of validation cases; none where nothing does.

    Args:
        masks: Predicted class indices (Z, Y, X), as the network left them.
        truths: True class indices.
        classes: Number of classes, background included.
        voxels_ml: Volume of a voxel of each case.
    """
    chosen = []
    for label in range(1, classes):
        pairs = list(_in_boxes(masks, truths, label, voxels_ml))
        before = _mean_dice(pairs, Cleanup(label=label))
        if before is None:
            continue
        dices = [(rule, _mean_dice(pairs, rule) or 0.0) for rule in _candidates(label, pairs)]
        best, after = max(dices, key=lambda found: found[1], default=(Cleanup(label=label), before))
        if after - before >= LEAST_GAIN:
            chosen.append(best.model_copy(update={"gain": round(after - before, 5)}))
    return tuple(chosen)


@dataclass(frozen=True)
class _Pair:
    """One organ of one case, cut to the box that holds prediction and truth."""

    found: Mask
    free: Mask  # background of the prediction
    true: Mask
    voxel_ml: float


def _in_boxes(
    masks: Sequence[Classes], truths: Sequence[Classes], label: int, voxels_ml: Sequence[float]
) -> Iterator[_Pair]:
    """Yield the cases that have an organ in prediction or truth."""
    for mask, truth, voxel_ml in zip(masks, truths, voxels_ml, strict=True):
        boxes = [ndimage.find_objects(part, max_label=label)[label - 1] for part in (mask, truth)]
        known = [box for box in boxes if box is not None]
        if known:
            box = tuple(
                slice(min(s.start for s in part), max(s.stop for s in part)) for part in zip(*known, strict=True)
            )
            inside = mask[box]
            yield _Pair(inside == label, inside == 0, truth[box] == label, voxel_ml)


def _candidates(label: int, pairs: Sequence[_Pair]) -> Iterator[Cleanup]:
    volumes = [pair.true.sum() * pair.voxel_ml for pair in pairs if pair.true.any()]
    sizes = [round(share * float(min(volumes)), 4) for share in LEAST_SHARES] if volumes else []
    for holes, (largest, size) in product((False, True), [(True, 0.0), *((False, size) for size in (0.0, *sizes))]):
        rule = Cleanup(label=label, largest=largest, smallest_ml=size, holes=holes)
        if not rule.does_nothing:
            yield rule


def _mean_dice(pairs: Sequence[_Pair], rule: Cleanup) -> float | None:
    dices = []
    for pair in pairs:
        after = pair.found if rule.does_nothing else _cleaned(pair.found, pair.free, rule, pair.voxel_ml)
        dices.append(overlap(after.astype(np.uint8), pair.true.astype(np.uint8), (1,))[1].dice)
    known = [dice for dice in dices if dice is not None]
    return fmean(known) if known else None


def _cleaned(organ: Mask, free: Mask, rule: Cleanup, voxel_ml: float) -> Mask:
    """Return an organ after its rule; it takes holes from `free` voxels only."""
    if rule.largest or rule.smallest_ml:
        pieces, count = ndimage.label(organ, structure=TOUCHING)
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            kept = sizes * voxel_ml >= rule.smallest_ml
            if rule.largest:
                kept &= np.arange(len(sizes)) == sizes.argmax()
            kept[0] = False
            organ = kept[pieces]
    return organ | (free & ndimage.binary_fill_holes(organ)) if rule.holes else organ


def cleanup_table(rules: Sequence[Cleanup], names: Mapping[int, str]) -> list[str]:
    """Return a line a rule, in words, with its gain."""
    lines = []
    for rule in rules:
        what = ["the largest piece is kept"] if rule.largest else []
        what += [f"pieces below {rule.smallest_ml:g} ml are removed"] if rule.smallest_ml else []
        what += ["holes are filled"] if rule.holes else []
        lines.append(f"{names[rule.label]}: {', '.join(what)} (validation Dice +{100 * rule.gain:.2f} %)")
    return lines
