"""Labels: the way from the values in label maps to what the network learns, and back.

Five things are numbered, each in its own way; this module goes from one to another, `network.outputs` to parts:

    value   what a label map or a mask has in a voxel: 0 is background, organs are any whole numbers
    atom    the index of a value, uint8: 0 background, then the organs' values in order, 255 the ignored one; the cache,
            its crops and a mask before it is written hold atoms
    class   the index of what has a probability
    part    of regions that overlap: the index of a set of them, that voxels lie in at once; 0 is outside of all
    place   of an organ in the plan's order, from 0: its colour follows from it

Disjoint organs: the classes are background and the organs, so that atom and class are the same number; the network's
outputs become probabilities by softmax, and a voxel gets the most probable class.

Regions, which may overlap: there is no class of background, a voxel is in every region above one half, and a mask is
painted region by region, a later one over an earlier one (nnU-Net's `regions_class_order`). `network.outputs` tells how
the probability of a region follows from the network's outputs.

Where the value to ignore is, the truth of a voxel is not known, and its atom is in no class.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from autoseg.errors import VolumeError

if TYPE_CHECKING:  # the command line imports plans, and with them this module: it must answer at once
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

IGNORED = 255  # atom of a voxel whose truth is not known
MOST_LABELS = 254  # that organs can have: with background and the ignored one they fit into a byte
HIGHEST_VALUE = 65535  # predictions are written with at most 16 bits
IN_REGION = 0.5  # probability above which a voxel is in a region
Atoms: TypeAlias = "npt.NDArray[np.uint8]"
LabelMap: TypeAlias = "npt.NDArray[np.integer[Any] | np.bool_]"  # values; bool of one organ alone
Mask: TypeAlias = "npt.NDArray[np.bool_]"


class Label(BaseModel):
    """One organ: its value in the label maps, its name, and what files call it, too."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    value: Annotated[int, Field(ge=1)]
    name: Annotated[str, Field(min_length=1)]
    names: tuple[str, ...] = ()  # of structures in files, beside its own; * and ? stand for any characters and for one

    @model_serializer(mode="wrap")
    def _without_no_names(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the fields for JSON; no names are left out, as in earlier files."""
        return {key: value for key, value in whole(self).items() if value or key != "names"}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Yield the fields; no names are left out, as digests are made of them."""
        yield from ((key, value) for key, value in super().__repr_args__() if value or key != "names")


def organ_key(name: str) -> str:
    """Return the key under which names of one organ match.

    >>> organ_key(" Left  Lung ")
    'left lung'
    """
    return " ".join(name.casefold().split())


@dataclass(frozen=True, kw_only=True)
class LabelScheme:
    """What the organs of a plan or a dataset are in label maps, in the network, and in masks.

    Raises:
        ValueError: If two organs have one value, or regions and ignored value do not fit the organs.
    """

    labels: tuple[Label, ...]  # the organs; regions in the order in which they are painted
    regions: tuple[tuple[int, ...], ...] | None = None  # values within each organ; None: its own, organs are disjoint
    ignored: int | None = None  # value of voxels whose truth is not known
    logit_scale: float | None = None  # of the outputs of regions, before the sigmoid; None: 1
    by_parts: bool = False  # whether outputs are the parts of regions, not the regions themselves

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        values = [label.value for label in self.labels]
        if len(set(values)) != len(values):
            raise ValueError(f"label values must differ, got {values}")
        if len(self._regions) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels need a region each, got {len(self._regions)}")
        for label, region in zip(self.labels, self._regions, strict=True):
            if min(region, default=0) < 1 or len(set(region)) != len(region):
                raise ValueError(f"region {label.name!r} needs values that differ, from 1 up, got {list(region)}")
            if label.value not in region:
                raise ValueError(f"region {label.name!r} is painted as {label.value}, not one of its {list(region)}")
        if self.ignored is not None and (self.ignored < 0 or self.ignored in self.values):
            raise ValueError(f"the ignored value must be neither background nor an organ's, got {self.ignored}")
        if self.by_parts and not self.overlapping:
            raise ValueError("only regions have parts; disjoint organs are outputs themselves")
        if self.by_parts and self.logit_scale is not None:
            raise ValueError(
                "logit_scale is of a sigmoid, and parts have a softmax; leave it out, or set region_parts to false"
            )
        if len(self.values) - 1 > MOST_LABELS:
            raise ValueError(f"organs can have at most {MOST_LABELS} values, got {len(self.values) - 1}")

    @property
    def overlapping(self) -> bool:
        """Whether a voxel may belong to several organs."""
        return self.regions is not None

    @property
    def classes(self) -> int:
        """Number of what has a probability: organs, and background where they are disjoint."""
        return len(self.labels) + (0 if self.overlapping else 1)

    @property
    def organs(self) -> dict[int, Label]:
        """Class index to organ, in label order; background is not among them."""
        return dict(enumerate(self.labels, start=self.classes - len(self.labels)))

    @property
    def names(self) -> dict[int, str]:
        """Value of each organ in a mask to its name, in label order."""
        return {label.value: label.name for label in self.labels}

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Label value of each atom, background first; without the ignored one."""
        return tuple(dict.fromkeys((0, *(value for region in self._regions for value in region))))

    @cached_property
    def membership(self) -> Mask:
        """Which classes each atom belongs to, (atoms, classes); the identity where organs are disjoint.

        With an ignored value it has 256 rows, so that every atom that occurs has one.
        """
        import numpy as np

        belongs = np.zeros((len(self.values) if self.ignored is None else IGNORED + 1, self.classes), dtype=np.bool_)
        if not self.overlapping:
            belongs[0, 0] = True
        for index, region in zip(self.organs, self._regions, strict=True):
            belongs[[self._atom_of[value] for value in region], index] = True
        belongs.setflags(write=False)
        return belongs

    @cached_property
    def atoms_of(self) -> dict[int, tuple[int, ...]]:
        """The atoms within each organ, by class index."""
        return {
            index: tuple(atom for atom, belongs in enumerate(self.membership[:, index].tolist()) if belongs)
            for index in self.organs
        }

    def encode(self, label_map: LabelMap, source: str) -> Atoms:
        """Return the atoms of a label map.

        Args:
            label_map: Values, of any shape.
            source: The case, for the message.

        Raises:
            VolumeError: If a value is no organ's.
        """
        import numpy as np

        atoms = self.encode_known(label_map)
        if np.count_nonzero(atoms) != np.count_nonzero(label_map):
            unknown = sorted({*np.unique(label_map).tolist()} - {*self._atom_of})
            raise VolumeError(
                f"{source}: label values {unknown} are not in the plan; correct the label or dataset.json"
            )
        return atoms

    def encode_known(self, label_map: LabelMap) -> Atoms:
        """Return the atoms of a label map, where a value that is no organ's counts as background."""
        import numpy as np

        table = np.zeros(max(self._atom_of) + 1, dtype=np.uint8)
        table[list(self._atom_of)] = list(self._atom_of.values())
        if label_map.min(initial=0) < 0 or label_map.max(initial=0) >= len(table):
            label_map = np.where((label_map < 0) | (label_map >= len(table)), 0, label_map)
        return np.asarray(table[label_map])

    def decode(self, atoms: Atoms) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the label values of atoms, in the smallest type that holds them; the array itself where they agree."""
        import numpy as np

        values = np.array(self.values)
        if self.ignored is not None:
            values = np.concatenate((values, np.zeros(IGNORED - len(values), dtype=int), [self.ignored]))
        if np.array_equal(values, np.arange(len(values))):
            return atoms
        return np.asarray(values.astype(np.min_scalar_type(values.max()))[atoms])

    def known(self, atoms: Atoms) -> Mask:
        """Return where the truth is known."""
        known: Mask = atoms != IGNORED
        return known

    def decide(self, probabilities: Tensor, dim: int = 0) -> Tensor:
        """Return the atoms (uint8) that probabilities speak for, whose classes lie along `dim`.

        Disjoint organs: the most probable class, of equal ones the lowest. Regions: the last one above one half.
        """
        if not self.overlapping and probabilities.stride(dim) == 1:  # where classes lie last, argmax is the fastest
            return probabilities.argmax(dim=dim).byte()
        by_class = probabilities.unbind(dim)
        atoms = by_class[0].new_zeros(by_class[0].shape).byte()
        if self.overlapping:
            for label, probability in zip(self.labels, by_class, strict=True):
                atoms.masked_fill_(probability > IN_REGION, self._atom_of[label.value])
            return atoms
        best = by_class[0].clone()
        for index in range(1, len(by_class)):
            atoms.masked_fill_(by_class[index] > best, index)
            best.clamp_(min=by_class[index])
        return atoms

    def values_of(self, organ: Label) -> tuple[int, ...]:
        """Return the values of a label map that lie within an organ."""
        return self._regions[self.labels.index(organ)]

    def mask(self, label_map: LabelMap, organ: Label) -> Mask:
        """Return where a label map, or a mask as it is written, has an organ."""
        return _is_one_of(label_map, self.values_of(organ))

    def class_mask(self, atoms: Atoms, index: int) -> Mask:
        """Return which atoms belong to a class."""
        return _is_one_of(atoms, [atom for atom, belongs in enumerate(self.membership[:, index]) if belongs])

    def voxels(self, atoms: Atoms) -> dict[int, int]:
        """Return how many voxels each organ has, by class index."""
        import numpy as np

        counts = np.bincount(atoms.ravel(), minlength=IGNORED + 1)
        return {index: int(counts[list(inside)].sum()) for index, inside in self.atoms_of.items()}

    def sums_inside(self, values: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of each class's values over the voxels that belong to it, and their number.

        Args:
            values: Of all classes, (voxels, classes).
            atoms: Of the voxels, uint8 (voxels,); none is ignored.

        Returns:
            Sums and numbers, float64 (classes,).
        """
        import torch

        rows = atoms.long()
        if self.overlapping or values.device.type == "cuda":  # there bincount would be waited for
            of_atom = torch.tensor(self.membership)
            if values.device.type == "cuda":
                of_atom = of_atom.pin_memory().to(values.device, non_blocking=True)
            belongs = of_atom[rows]
            return torch.where(belongs, values, 0.0).sum(dim=0, dtype=torch.float64), belongs.sum(dim=0).double()
        own = values.gather(1, rows[:, None])[:, 0].double()
        sums = torch.bincount(rows, weights=own, minlength=self.classes)
        return sums, torch.bincount(rows, minlength=self.classes).double()

    def hidden(self, shows: Callable[[int], bool]) -> tuple[int, ...]:
        """Return the classes of organs that a label map does not show, given which values it shows."""
        regions = zip(self.organs, self._regions, strict=True)
        return tuple(index for index, region in regions if not all(shows(value) for value in region))

    def shown(self, hidden: Collection[int]) -> dict[int, Label]:
        """Return the organs whose classes are not hidden, by class index."""
        return {index: organ for index, organ in self.organs.items() if index not in hidden}

    def without(self, atoms: Atoms, hidden: Collection[int]) -> Atoms:
        """Return atoms in which what belongs to hidden classes alone is background."""
        import numpy as np

        table = np.arange(IGNORED + 1, dtype=np.uint8)
        belongs = self.membership[: len(self.values)]
        table[: len(belongs)][~belongs[:, list(self.shown(hidden))].any(axis=1)] = 0
        return np.asarray(table[atoms])

    @cached_property
    def _atom_of(self) -> dict[int, int]:
        """Return the atom of each value that may occur."""
        ignored = {} if self.ignored is None else {self.ignored: IGNORED}
        return dict(zip(self.values, range(len(self.values)), strict=True)) | ignored

    @property
    def _regions(self) -> tuple[tuple[int, ...], ...]:
        """The values within each organ."""
        return tuple((label.value,) for label in self.labels) if self.regions is None else self.regions


def _is_one_of(array: LabelMap, values: Iterable[int]) -> Mask:
    first, *others = values
    mask: Mask = array == first
    for value in others:
        mask |= array == value
    return mask
