"""Names of organs within label maps: every one that occurs, which label it is, and which cases lack it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from autoseg.dataset.findings import Finding
from autoseg.dataset.load import Dataset
from autoseg.imaging.segment_values import TABLE, labels_of_name
from autoseg.labels import organ_key
from autoseg.words import counted, shortened

FEW = 3  # cases that are named


def name_findings(names: Mapping[str, Sequence[str]], dataset: Dataset) -> Iterator[Finding]:
    """Yield a row that lists every name, where a name is no label or a case lacks a label.

    Args:
        names: Within the label map of each case, by id; a case without any holds values only, and is left out.
        dataset: Whose labels count.
    """
    named = {case: each for case, each in names.items() if each}
    cases: dict[str, set[str]] = {}
    spelled: dict[str, str] = {}
    for case, each in named.items():
        for name in each:
            cases.setdefault(organ_key(name), set()).add(case)
            spelled.setdefault(organ_key(name), name)
    labels = {label.value: label.name for label in dataset.labels}
    of_name = {key: labels_of_name(name, dataset.labels) for key, name in spelled.items()}
    label_of = {key: " or ".join(label.name for label in several) or None for key, several in of_name.items()}
    has = {name: {case for key in cases if label_of[key] == name for case in cases[key]} for name in labels.values()}
    if None not in label_of.values() and all(len(with_it) == len(named) for with_it in has.values()):
        return
    listed = [f"{shortened(spelled[key])} ({_which(label_of[key], cases[key], len(named))})" for key in sorted(cases)]
    lacking = [f"{name} ({_few(set(named) - has[name])})" for name in has if len(has[name]) < len(named)]
    found = f"names within the label maps of {counted(len(named), 'case')}: {', '.join(listed)}"
    found += f"; no such name: {', '.join(lacking)}" if lacking else ""
    fix = f"list the names of each organ in {TABLE} (--labels writes a draft), or nothing where one is not wanted"
    yield Finding(case="", file=str(dataset.root), code="names", severity="note", found=found, fix=fix)


def _which(label: str | None, cases: set[str], count: int) -> str:
    """Say which label a name is, and in which cases it occurs."""
    of = "no label" if label is None else f"label {shortened(label)}"
    return f"{of}; all" if len(cases) == count else f"{of}; {_few(cases)}"


def _few(cases: set[str]) -> str:
    """Name a few cases, else their number.

    >>> _few({"b", "a"}), _few({"a", "b", "c", "d"})
    ('a, b', 'a, b, c and 1 more')
    """
    first, others = sorted(cases)[:FEW], len(cases) - FEW
    return ", ".join(first) + (f" and {others} more" if others > 0 else "")
