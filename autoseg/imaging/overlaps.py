"""Masks that may overlap, as one array of codes; and the label map that says the same, where one can."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Voxels
from autoseg.imaging.remarks import Remark
from autoseg.labels import LabelScheme
from autoseg.words import counted, shortened

MOST_SHARED = 0.1  # of the smaller one's voxels: borders drawn twice, and no organ within another
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class NamedMask:
    """The voxels of one structure."""

    name: str  # as in its file
    value: int  # of its label
    array: npt.NDArray[np.bool_]  # (Z, Y, X)
    start: int = 0  # slice of the volume that is the array's first


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """Which labels each voxel belongs to."""

    codes: Codes  # (Z, Y, X): 0 of none, a label's value where it alone is, else a key of `sets`
    sets: Mapping[int, frozenset[int]] = field(default_factory=dict)  # negative code to the values of several labels
    names: Mapping[int, str] = field(default_factory=dict)  # of a structure of each label, by value

    def labels_at(self, code: int) -> frozenset[int]:
        """Return the values of the labels that a code stands for."""
        return self.sets.get(code) or frozenset({code} - {0})


def overlay(masks: Iterable[NamedMask], shape: Voxels) -> Overlay:
    """Return masks laid over each other; those of one label are joined.

    Args:
        masks: One at a time, so that they need not all be in memory.
        shape: Of the volume (Z, Y, X).
    """
    codes: Codes = np.zeros(shape, dtype=np.int32)
    sets: dict[int, frozenset[int]] = {}
    names: dict[int, str] = {}
    for mask in masks:
        names.setdefault(mask.value, shortened(mask.name))
        part = codes[mask.start : mask.start + len(mask.array)]
        part[mask.array] = _joined(part[mask.array], frozenset({mask.value}), sets)
    return Overlay(codes=codes, sets=sets, names=names)


def laid_over(one: Overlay, other: Overlay) -> Overlay:
    """Return two overlays of one grid as one."""
    codes, sets = one.codes.copy(), dict(one.sets)
    for code in np.unique(other.codes).tolist():
        if code:
            where = other.codes == code
            codes[where] = _joined(codes[where], other.labels_at(code), sets)
    return Overlay(codes=codes, sets=sets, names={**other.names, **one.names})


def _joined(before: Codes, values: frozenset[int], sets: dict[int, frozenset[int]]) -> Codes:
    """Return the codes of voxels that belong to further labels; sets that are new get a code."""
    low = int(before.min(initial=0))
    present = np.flatnonzero(np.bincount(before - low, minlength=1)) + low
    table = np.zeros(int(present.max(initial=low)) - low + 1, dtype=np.int32)
    code_of = {members: code for code, members in sets.items()}
    for code in present.tolist():
        members = (sets.get(code) or frozenset({code} - {0})) | values
        if len(members) == 1:
            table[code - low] = next(iter(members))
        else:
            sets.setdefault(code_of.setdefault(members, -len(code_of) - 1), members)
            table[code - low] = code_of[members]
    return np.asarray(table[before - low])


@dataclass(frozen=True, kw_only=True)
class _Painted:
    """Masks, and which value of a label map each of their codes becomes."""

    laid: Overlay
    counts: Mapping[int, int]  # voxels of each code but 0
    values: Mapping[int, int | None]  # of each code; None: no value says it
    within: Mapping[int, frozenset[int]]  # the labels that each value of a label map belongs to
    scheme: LabelScheme

    def labels_of_value(self, code: int) -> frozenset[int]:
        """Return the labels to which the value belongs that a code becomes."""
        return self.within.get(self.values[code] or 0, frozenset())


def label_map_of(file: Path, laid: Overlay, scheme: LabelScheme) -> tuple[Codes, tuple[Remark, ...]]:
    """Return the label map that says which labels each voxel belongs to, and what it cannot say.

    Regions: the value that lies in the regions of a voxel and in no others; where there is none, in those around them,
    too. Otherwise labels overlap, and the last one has the voxel.

    Args:
        file: For messages.
        laid: The masks of the labels.
        scheme: Of the labels; none: their values are all that is known.

    Raises:
        VolumeError: If two labels share more than `MOST_SHARED` of the smaller one's voxels in which the value is not
            of both, or a region has voxels outside the regions within it, and no value for them.
    """
    if not laid.sets and not scheme.overlapping:
        return laid.codes, ()
    counts = _counts(laid.codes)
    within = _labels_within(scheme, {v for code in counts for v in laid.labels_at(code)})
    values = {code: _value_of(laid.labels_at(code), scheme, within) for code in counts}
    painted = _Painted(laid=laid, counts=counts, values=values, within=within, scheme=scheme)
    _require_values(file, painted)
    remarks = (*_borders(file, painted), *_implied(painted))
    if all(code == value for code, value in values.items()):
        return laid.codes, remarks
    low = min(0, *counts)  # background is 0, which the counts leave out
    table = np.zeros(max(0, *counts) - low + 1, dtype=np.int32)
    for code, value in values.items():
        table[code - low] = value or 0
    return np.stack([table[part - low] for part in laid.codes]), remarks


def _counts(codes: Codes) -> dict[int, int]:
    """Count the voxels of each code but 0, slice by slice to need little memory."""
    low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
    total = np.zeros(high - low + 1, dtype=np.int64)
    for part in codes:
        total += np.bincount(part.ravel() - low, minlength=len(total))
    return {n + low: int(total[n]) for n in np.flatnonzero(total).tolist() if n + low}


def _labels_within(scheme: LabelScheme, present: Collection[int]) -> dict[int, frozenset[int]]:
    """Return which labels, by their own values, each value of a label map belongs to."""
    if not scheme.labels:
        return {value: frozenset({value}) for value in present}
    regions = {organ.value: scheme.values_of(organ) for organ in scheme.labels}
    return {v: frozenset(own for own, region in regions.items() if v in region) for v in scheme.values if v}


def _last(members: Collection[int], scheme: LabelScheme) -> int:
    """Return which of several labels is painted last."""
    return next((o.value for o in reversed(scheme.labels) if o.value in members), max(members))


def _value_of(members: frozenset[int], scheme: LabelScheme, within: Mapping[int, frozenset[int]]) -> int | None:
    """Return the value of voxels that belong to some labels; None where a region lacks one."""
    last = _last(members, scheme)
    fitting = [
        v for v, labels in within.items() if members <= labels and _are_around(labels - members, members, scheme)
    ]
    if fitting:
        return min(fitting, key=lambda value: (len(within[value]), value != last))
    return None if len(members) == 1 else _value_of(frozenset({last}), scheme, within)


def _are_around(others: Collection[int], members: Collection[int], scheme: LabelScheme) -> bool:
    """Return whether each of some regions holds the whole of one of the members."""
    region = {organ.value: {*scheme.values_of(organ)} for organ in scheme.labels}
    return all(any(region[member] < region[other] for member in members) for other in others)


def _require_values(file: Path, painted: _Painted) -> None:
    """Raise VolumeError if a code has no value."""
    code = next((code for code, value in painted.values.items() if value is None), None)
    if code is not None:
        name = painted.laid.names.get(min(painted.laid.labels_at(code)), str(code))
        voxels = counted(painted.counts[code], "voxel")
        raise VolumeError(
            f"{file}: {voxels} of {name} lie in no region within it, and the regions have no value for that; "
            "give the region a value of its own in dataset.json"
        )


def _borders(file: Path, painted: _Painted) -> Sequence[Remark]:
    """Tell which labels overlap where the value does not belong to both.

    Raises:
        VolumeError: If they share much.
    """
    laid, counts, scheme = painted.laid, painted.counts, painted.scheme
    shared: dict[tuple[int, int], int] = {}
    for code, count in counts.items():
        for pair in combinations(sorted(laid.labels_at(code)), 2):
            if not painted.labels_of_value(code).issuperset(pair):
                shared[pair] = shared.get(pair, 0) + count
    parts = []
    for pair, count in sorted(shared.items()):
        sizes = [sum(n for code, n in counts.items() if value in laid.labels_at(code)) for value in pair]
        named = " and ".join(laid.names.get(value, f"segment {value}") for value in pair)
        if count > MOST_SHARED * min(sizes):
            cause = "a label map has one value a voxel"
            if scheme.overlapping:
                has_value = any(labels.issuperset(pair) for labels in painted.within.values())
                cause = "no value lies in both regions" + (" and no others" if has_value else "")
            raise VolumeError(
                f"{file}: {named} overlap in {counted(count, 'voxel')}, and {cause}; correct them, name one of them "
                "only as label, or make them regions in dataset.json"
            )
        parts.append(f"{named} in {counted(count, 'voxel')}")
    if not parts:
        return ()
    which = "the region painted last" if scheme.overlapping else "the label with the higher value"
    found = f"borders overlap: {'; '.join(parts)}; {which} has them"
    return (Remark(code="masks-overlap", found=found, fix="nothing, or correct them", is_doubtful=True),)


def _implied(painted: _Painted) -> Sequence[Remark]:
    """Tell which regions have voxels outside of those that hold them."""
    laid, scheme = painted.laid, painted.scheme
    outside: dict[tuple[int, int], int] = {}
    for code, count in painted.counts.items():
        members = laid.labels_at(code)
        for outer in painted.labels_of_value(code) - members:
            inner = _last(members, scheme)
            outside[inner, outer] = outside.get((inner, outer), 0) + count
    if not outside:
        return ()
    listed = [
        f"{laid.names.get(inner, scheme.names[inner])} outside {scheme.names[outer]} in {counted(count, 'voxel')}"
        for (inner, outer), count in sorted(outside.items())
    ]
    found = f"regions lie beyond those that hold them: {'; '.join(listed)}; these voxels count as both"
    return (Remark(code="regions-beyond", found=found, fix="nothing, or correct them", is_doubtful=True),)
