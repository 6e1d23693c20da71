"""Boxes: where in a volume something lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from scipy import ndimage

from autoseg.imaging.grid import Box
from autoseg.labels import LabelMap, Mask

Key = TypeVar("Key")


def box_around(boxes: Iterable[Box | None]) -> Box | None:
    """Return the box that holds all boxes; None where there is none.

    >>> box_around([None, (slice(0, 2), slice(3, 4), slice(5, 6)), (slice(1, 3), slice(3, 4), slice(0, 1))])
    (slice(0, 3, None), slice(3, 4, None), slice(0, 6, None))
    """
    known = [box for box in boxes if box is not None]
    if not known:
        return None
    z, y, x = (
        slice(min(part.start for part in parts), max(part.stop for part in parts)) for parts in zip(*known, strict=True)
    )
    return z, y, x


def group_boxes(label_map: LabelMap | Mask, groups: Mapping[Key, Sequence[int]]) -> dict[Key, Box | None]:
    """Return the box around each group of values, by its key; None where none of them occurs.

    Args:
        label_map: Values or atoms (Z, Y, X).
        groups: Key to the values, each at least 1.
    """
    most = max((value for values in groups.values() for value in values), default=0)
    boxes = ndimage.find_objects(label_map, max_label=most)
    return {key: box_around(boxes[value - 1] for value in values) for key, values in groups.items()}
