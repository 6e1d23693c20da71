"""Regions, as nnU-Net writes them in a dataset.json: labels that are lists of values, and may lie within each other."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from autoseg.errors import DatasetError
from autoseg.labels import HIGHEST_VALUE, Label, LabelScheme, organ_key
from autoseg.words import shortened

IGNORE = "ignore"  # nnU-Net's name for the value of voxels whose truth is not known
ORDER = "regions_class_order"


def region_scheme(file: Path, meta: Mapping[str, Any]) -> LabelScheme:
    """Return the regions of a dataset in the order in which they are painted.

    Args:
        file: For messages.
        meta: Its content; "labels" names regions, and ORDER what each of them is painted as, background left out.

    Raises:
        DatasetError: If a region has a value twice, none, or another's, or the order does not fit.
    """
    entries = {str(name).strip(): _values(file, name, entry) for name, entry in meta["labels"].items()}
    ignored = next((values[0] for name, values in entries.items() if name.casefold() == IGNORE), None)
    regions = {name: values for name, values in entries.items() if name.casefold() != IGNORE and values != (0,)}
    for name, values in regions.items():
        if 0 in values:
            raise DatasetError(f"{file}: region {name!r} holds 0, which is background; leave it out")
        if ignored in values:
            raise DatasetError(f"{file}: region {name!r} holds {ignored}, which is to be ignored; leave it out")
    for (one, its_values), (other, values) in combinations(regions.items(), 2):
        if set(its_values) == set(values):
            raise DatasetError(f"{file}: regions {one!r} and {other!r} hold the same values; leave one out")
        if organ_key(one) == organ_key(other):
            raise DatasetError(f"{file}: regions {one!r} and {other!r} differ only in capitals; give each its own name")
    painted = _order(file, meta.get(ORDER), regions)
    labels = tuple(Label(value=value, name=name) for name, value in zip(regions, painted, strict=True))
    try:
        return LabelScheme(labels=labels, regions=tuple(regions.values()), ignored=ignored)
    except ValueError as error:
        raise DatasetError(f"{file}: {error}; correct the labels") from error


def _values(file: Path, name: object, entry: object) -> tuple[int, ...]:
    values = entry if isinstance(entry, list) else [entry]
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= HIGHEST_VALUE:
            raise DatasetError(
                f"{file}: label {name!r}: {shortened(repr(value))} is no value; beside regions every label is a whole "
                f"number from 0 to {HIGHEST_VALUE}, or a list of such"
            )
    if not values:
        raise DatasetError(f"{file}: region {name!r} is empty; list its values, or leave it out")
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise DatasetError(f"{file}: region {name!r} holds {twice[0]} twice; list every value once")
    if len(values) > 1 and str(name).casefold() == IGNORE:
        raise DatasetError(f"{file}: label {name!r} needs one value; found {shortened(repr(values))}")
    return tuple(values)


def _order(file: Path, order: object, regions: Mapping[str, tuple[int, ...]]) -> list[int]:
    """Return the value that each region is painted as."""
    names = ", ".join(regions)
    if not isinstance(order, list):
        raise DatasetError(f'{file}: regions need "{ORDER}", the value that each is painted as: {names}; add it')
    if len(order) != len(regions):
        raise DatasetError(f"{file}: {ORDER} has {len(order)} values for {len(regions)} regions ({names}); correct it")
    for value, (name, values) in zip(order, regions.items(), strict=True):
        if value not in values or isinstance(value, bool):
            found = shortened(repr(value))
            raise DatasetError(
                f"{file}: {ORDER} paints {name!r} as {found}, which is none of its values {list(values)}; correct it"
            )
    twice = [value for value in order if order.count(value) > 1]
    if twice:
        raise DatasetError(f"{file}: {ORDER} paints two regions as {twice[0]}; give each its own value")
    return order
