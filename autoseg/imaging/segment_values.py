"""Names of structures in files: which label each is, by the label's own name or by those that a table lists for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from autoseg.errors import VolumeError
from autoseg.imaging.remarks import Remark
from autoseg.labels import Label, organ_key
from autoseg.words import shortened

MOST_NAMED = 5  # in a message
TABLE = "labels.csv"  # beside the dataset: the names in files that mean a label


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

    A table of names says which segments count; without one, all must be labels.

    Raises:
        VolumeError: If labels have the names of some segments only; with a table as `values_of_structures`.
    """
    if any(label.names for label in labels):
        return values_of_structures(file, names, labels, "segments")
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
            f"{listed_names(of_labels.values())}: name them alike, or list the names in {TABLE}"
        )
    pairs = [f"{shortened(name)} as {of_labels[number]}" for number, name in names.items()]
    remark = Remark(
        code="segments-by-number",
        found=f"no label is called as the segments are; they are taken by their numbers: {listed_names(pairs)}",
        fix="if that is not right, name segments and labels alike",
        is_doubtful=True,
    )
    return {number: number for number in names}, (remark,)


def values_of_structures(
    file: Path, names: Mapping[int, str], labels: Sequence[Label], kind: str = "structures"
) -> tuple[dict[int, int], tuple[Remark, ...]]:
    """Return the label value of each structure that a label names, by its number; others are left out, and told.

    Numbers mean nothing where labels have names: planning systems give them in the order of drawing.

    Args:
        file: For messages.
        names: Of the structures, by number.
        labels: Of the dataset, whose names may join several structures; none: the numbers are the values.
        kind: What they are called in messages, several of them.

    Raises:
        VolumeError: If no label names a structure, two labels name one, or two structures have one name, or one label
            whose names say nothing of that.
    """
    if not labels:
        return _own_values(file, names, kind), ()
    of_labels = {number: labels_of_name(name, labels) for number, name in names.items()}
    for number, several in of_labels.items():
        if len(several) > 1:
            raise VolumeError(
                f"{file}: {shortened(names[number])} is a name of {several[0].name} and of {several[1].name}; correct "
                f"{TABLE}"
            )
    known = {number: one[0] for number, one in of_labels.items() if one}
    for label in labels:
        called = {number: names[number] for number, one in known.items() if one == label}
        if len(called) > 1 and not label.names:
            raise VolumeError(_two_are_called(file, kind, *list(called.values())[:2]))
        _own_values(file, called, kind)
    if not known and names:
        raise VolumeError(
            f"{file}: no label is called as its {kind} {listed_names(names.values())} are; the labels are "
            f"{listed_names(label.name for label in labels)}: name them alike, or list the names in {TABLE}"
        )
    return {number: one.value for number, one in known.items()}, tuple(_remarks(names, known, labels, kind))


def _own_values(file: Path, names: Mapping[int, str], kind: str) -> dict[int, int]:
    """Return numbers as values.

    Raises:
        VolumeError: If two structures have one name.
    """
    by_key: dict[str, int] = {}
    for number, name in names.items():
        if by_key.setdefault(organ_key(name), number) != number:
            raise VolumeError(_two_are_called(file, kind, names[by_key[organ_key(name)]], name))
    return {number: number for number in names}


def _two_are_called(file: Path, kind: str, one: str, other: str) -> str:
    what = f"two {kind} are called {shortened(one)} and {shortened(other)}"
    return f"{file}: {what}; rename or remove one of them, or join names of one organ in {TABLE}"


def _remarks(
    names: Mapping[int, str], known: Mapping[int, Label], labels: Sequence[Label], kind: str
) -> Iterator[Remark]:
    """Yield which structures are joined or left out, and which labels no structure has."""
    for label in labels:
        called = [names[number] for number, one in known.items() if one == label]
        if len(called) > 1:
            found = f"{kind} are joined as {label.name}: {listed_names(called)}"
            listed = {spelling_key(name) for name in label.names}
            by_pattern = any(spelling_key(name) not in listed for name in called)
            fix = f"nothing if all belong to it; else list its names one by one in {TABLE}"
            yield Remark(code="structures-joined", found=found, fix=fix, is_doubtful=by_pattern)
    others = [name for number, name in names.items() if number not in known]
    if others:
        found = f"{kind} that no label names are left out: {listed_names(others)}"
        yield Remark(code="structures-left-out", found=found, fix=f"nothing, or name them in dataset.json or {TABLE}")
    lacking = [label.name for label in labels if label not in known.values()]
    if lacking:
        named = listed_names(names.values())
        found = f"no {kind[:-1]} has the name of a label: {listed_names(lacking)}; there are {named}"
        fix = "name it as the label; if the organ was not drawn, list the drawn ones under labelled"
        yield Remark(code="structures-lacking", found=found, fix=fix, is_doubtful=True)


def value_of_name(name: str, labels: Sequence[Label]) -> int | None:
    """Return the value of the one label that a name means; None where there is none, or several."""
    of_name = labels_of_name(name, labels)
    return of_name[0].value if len(of_name) == 1 else None


def labels_of_name(name: str, labels: Sequence[Label]) -> tuple[Label, ...]:
    """Return the labels that a name means, though it be written with other capitals, blanks or _.

    A name that is listed as it is counts before one with * or ?; by these it may mean several.

    >>> heart, lung = Label(value=1, name="heart", names=("HEART*",)), Label(value=2, name="lung", names=("*lung",))
    >>> [one.name for one in labels_of_name("Heart_ctr", [heart, lung])]
    ['heart']
    >>> [one.name for one in labels_of_name("Heart_lung", [heart, lung])]
    ['heart', 'lung']
    """
    for spelling in (str, organ_key, spelling_key):
        exact = [one for one in labels if spelling(name) in map(spelling, (one.name, *one.names))]
        if len(exact) == 1:
            return tuple(exact)
    text = spelling_key(name)
    return tuple(one for one in labels if any(is_pattern(p) and _pattern(p).fullmatch(text) for p in one.names))


def is_pattern(name: str) -> bool:
    """Return whether a name of a table stands for several."""
    return "*" in name or "?" in name


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(spelling_key(name)).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def spelling_key(name: str) -> str:
    """Return the key under which names match that differ in capitals, blanks, - and _ only."""
    return organ_key(re.sub(r"[_-]", " ", name))


def listed_names(names: Iterable[str]) -> str:
    """Return the first names of several for a message."""
    every = list(names)
    return ", ".join(map(shortened, every[:MOST_NAMED])) + (", …" if len(every) > MOST_NAMED else "")
