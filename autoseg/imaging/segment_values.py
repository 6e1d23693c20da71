"""The label value of each segment of a DICOM SEG: that of the label that bears its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from autoseg.errors import VolumeError
from autoseg.imaging.remarks import Remark
from autoseg.labels import Label, organ_key
from autoseg.words import shortened

MOST_NAMED = 5  # in a message


def labels_of_segments(named: Iterable[Mapping[int, str]]) -> tuple[Label, ...]:
    """Return a label for each name among several DICOM SEG; its value is its number where all have the same.

    >>> [(one.value, one.name) for one in labels_of_segments([{1: "a", 2: "b"}, {1: "b"}])]
    [(1, 'a'), (2, 'b')]
    >>> [(one.value, one.name) for one in labels_of_segments([{3: "a"}, {3: "A"}])]
    [(3, 'a')]
    """
    names: dict[str, str] = {}
    numbers: dict[str, set[int]] = {}
    for segments in named:
        for number, name in segments.items():
            names.setdefault(organ_key(name), name)
            numbers.setdefault(organ_key(name), set()).add(number)
    own = [number for each in numbers.values() for number in each]
    if len(own) == len(set(own)) == len(numbers):
        return tuple(Label(value=number, name=names[key]) for number, key in sorted(zip(own, numbers, strict=True)))
    return tuple(Label(value=value, name=names[key]) for value, key in enumerate(sorted(names), start=1))


def values_of_segments(
    file: Path, names: Mapping[int, str], labels: Sequence[Label]
) -> tuple[dict[int, int], tuple[Remark, ...]]:
    """Return the label value of each segment: that of its name, or of its number where no label has such a name.

    Raises:
        VolumeError: If labels have the names of some segments only.
    """
    if not labels:
        return {number: number for number in names}, ()
    known = {number: value_of_name(name, labels) for number, name in names.items()}
    values = {number: value for number, value in known.items() if value is not None}
    unknown = [name for number, name in names.items() if number not in values]
    if not unknown:
        return values, ()
    of_labels = {label.value: label.name for label in labels}
    if values or not set(names) <= set(of_labels):
        raise VolumeError(
            f"{file}: no label is called as its segments {listed_names(unknown)} are; the labels are "
            f"{listed_names(of_labels.values())}: name them alike"
        )
    pairs = [f"{shortened(name)} as {of_labels[number]}" for number, name in names.items()]
    remark = Remark(
        code="segments-by-number",
        found=f"no label is called as the segments are; they are taken by their numbers: {listed_names(pairs)}",
        fix="if that is not right, name segments and labels alike",
        is_doubtful=True,
    )
    return {number: number for number in names}, (remark,)


def value_of_name(name: str, labels: Sequence[Label]) -> int | None:
    """Return the value of the one label that bears a name, though it be written with other capitals, blanks or _."""
    for spelling in (str, organ_key, _spelling):
        values = [label.value for label in labels if spelling(label.name) == spelling(name)]
        if len(values) == 1:
            return values[0]
    return None


def _spelling(name: str) -> str:
    return organ_key(re.sub(r"[_-]", " ", name))


def listed_names(names: Iterable[str]) -> str:
    """Return the first names of several for a message."""
    every = list(names)
    return ", ".join(map(shortened, every[:MOST_NAMED])) + (", …" if len(every) > MOST_NAMED else "")
