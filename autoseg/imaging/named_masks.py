"""Masks that bear names, as clinics keep organs: each gets the value of the label of its name, together a label map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Voxels
from autoseg.imaging.remarks import Remark
from autoseg.imaging.segment_values import listed_names, value_of_name
from autoseg.labels import Label, organ_key
from autoseg.words import counted, shortened

MOST_SHARED = 0.1  # of the smaller one's voxels: borders drawn twice, and no organ within another


@dataclass(frozen=True, kw_only=True)
class NamedMask:
    """The voxels of one organ."""

    name: str  # as in its file
    value: int  # of its label
    array: npt.NDArray[np.bool_]  # (Z, Y, X)


def values_of_structures(
    file: Path, names: Mapping[int, str], labels: Sequence[Label], kind: str = "structures"
) -> tuple[dict[int, int], tuple[Remark, ...]]:
    """Return the label value of each structure that a label names, by its number; others are left out, and told.

    Numbers mean nothing where labels have names: planning systems give them in the order of drawing.

    Args:
        file: For messages.
        names: Of the structures, by number.
        labels: Of the dataset; none: the numbers are the values.
        kind: What they are called in messages, several of them.

    Raises:
        VolumeError: If no label names a structure, or two structures have one name or one label.
    """
    values = {number: value_of_name(name, labels) if labels else number for number, name in names.items()}
    known = {number: value for number, value in values.items() if value is not None}
    for number, name in names.items():
        for other in list(names)[: list(names).index(number)]:
            same_label = labels and number in known and known[number] == known.get(other)
            if same_label or (not labels and organ_key(names[other]) == organ_key(name)):
                raise VolumeError(
                    f"{file}: two {kind} are called {shortened(names[other])} and {shortened(name)}; rename or "
                    "remove one of them"
                )
    if not known and names:
        raise VolumeError(
            f"{file}: no label is called as its {kind} {listed_names(names.values())} are; the labels are "
            f"{listed_names(label.name for label in labels)}: name them alike"
        )
    return known, tuple(_remarks(names, known, labels, kind))


def _remarks(
    names: Mapping[int, str], known: Mapping[int, int], labels: Sequence[Label], kind: str
) -> Iterator[Remark]:
    """Yield which structures are left out, and which labels no structure has."""
    others = [name for number, name in names.items() if number not in known]
    if others:
        found = f"{kind} that no label names are left out: {listed_names(others)}"
        yield Remark(code="structures-left-out", found=found, fix="nothing, or name them in dataset.json")
    lacking = [label.name for label in labels if label.value not in known.values()]
    if lacking:
        named = listed_names(names.values())
        found = f"no {kind[:-1]} has the name of a label: {listed_names(lacking)}; there are {named}"
        fix = "name it as the label; if the organ was not drawn, list the drawn ones under labelled"
        yield Remark(code="structures-lacking", found=found, fix=fix, is_doubtful=True)


def label_map_of(
    file: Path, masks: Iterable[NamedMask], shape: Voxels
) -> tuple[npt.NDArray[np.int32], tuple[Remark, ...]]:
    """Return masks as one label map; where borders overlap, the one that comes later has the voxels, and that is told.

    Args:
        file: For messages.
        masks: In the order of painting.
        shape: Of each (Z, Y, X).

    Raises:
        VolumeError: If two share more than `MOST_SHARED` of the smaller one's voxels.
    """
    array: npt.NDArray[np.int32] = np.zeros(shape, dtype=np.int32)
    sizes: dict[int, int] = {}
    names: dict[int, str] = {}
    told = []
    for mask in masks:
        sizes[mask.value], names[mask.value] = int(np.count_nonzero(mask.array)), shortened(mask.name)
        before = np.bincount(array[mask.array], minlength=1)
        for value in np.flatnonzero(before[1:]) + 1:
            shared, smaller = int(before[value]), min(sizes[int(value)], sizes[mask.value])
            pair = f"{names[int(value)]} and {names[mask.value]}"
            if shared > MOST_SHARED * smaller:
                raise VolumeError(
                    f"{file}: {pair} overlap in {counted(shared, 'voxel')}, and a label map has one value a voxel; "
                    "correct them, or name one of them only as label"
                )
            told.append(f"{pair} in {counted(shared, 'voxel')}")
        array[mask.array] = mask.value
    if not told:
        return array, ()
    found = f"borders overlap: {'; '.join(told)}; the label with the higher value has them"
    return array, (Remark(code="masks-overlap", found=found, fix="nothing, or correct them", is_doubtful=True),)
