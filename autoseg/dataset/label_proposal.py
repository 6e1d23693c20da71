"""A proposal for labels.csv: the names within label maps, gathered by the organ that they seem to mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from autoseg.dataset.names import is_sided
from autoseg.imaging.segment_values import labels_of_name, spelling_key
from autoseg.labels import Label
from autoseg.sheet import write_frame

_WORD = re.compile(r"[^\W\d_]+")


@dataclass
class _Organ:
    """Names that seem to mean one organ."""

    words: frozenset[str]  # of its shortest name
    label: Label | None = None
    names: list[str] = field(default_factory=list)
    cases: set[str] = field(default_factory=set)


def proposed_table(names: Mapping[str, Sequence[str]], labels: Sequence[Label]) -> pd.DataFrame:
    """Return the rows of a labels.csv: organ, value, names joined by ;, and the number of cases that have one.

    Names are one where they differ in capitals, blanks, - and _ only; and where the words of one are among those of
    the other, unless a case has both, a further word says a side, or it may be two organs. Nothing else is guessed:
    who knows the structures corrects the table.

    Args:
        names: Within the label map of each case.
        labels: Of the dataset, where it lists them: no other organ is proposed; none: every name is one.
    """
    organs = [_Organ(words=_words(label.name), label=label) for label in labels]
    unlabelled: dict[str, _Organ] = {}
    for case, each in names.items():
        for name in each:
            of_name = labels_of_name(name, labels)
            key = spelling_key(name)
            new = _Organ(words=_words(name))
            organ = next((o for o in organs if o.label in of_name), None) or unlabelled.setdefault(key, new)
            organ.cases.add(case)
            organ.names += [] if name in organ.names else [name]
    for one in sorted(unlabelled.values(), key=lambda one: (len(one.words), -len(one.cases), one.names[0])):
        near = [organ for organ in organs if _may_be_one(organ, one)]
        if len(near) == 1:
            near[0].names += one.names
            near[0].cases |= one.cases
        elif not labels:
            organs.append(one)
    ordered = organs if labels else sorted(organs, key=lambda one: (-len(one.cases), one.names[0].casefold()))
    rows = [
        {
            "organ": min(one.names, key=len) if one.label is None else one.label.name,
            "value": number if one.label is None else one.label.value,
            "names": ";".join(one.names or (() if one.label is None else one.label.names)),
            "cases": len(one.cases),
        }
        for number, one in enumerate(ordered, start=1)
    ]
    return pd.DataFrame(rows, columns=["organ", "value", "names", "cases"])


def write_proposal(file: Path, names: Mapping[str, Sequence[str]], labels: Sequence[Label]) -> None:
    """Write a proposal as CSV.

    Raises:
        OSError: If it cannot be written.
    """
    write_frame(proposed_table(names, labels), file, digits=9)


def _words(name: str) -> frozenset[str]:
    return frozenset(word.casefold() for word in _WORD.findall(name))


def _may_be_one(organ: _Organ, other: _Organ) -> bool:
    """Return whether names may mean one organ: one says no more than the other but what sides do not say."""
    if not organ.words or not other.words or organ.cases & other.cases:
        return False
    further = organ.words ^ other.words
    return (organ.words <= other.words or other.words <= organ.words) and not is_sided(" ".join(further))
