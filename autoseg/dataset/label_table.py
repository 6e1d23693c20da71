"""labels.csv: the organs of a dataset, the value of each, and what files call it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from autoseg.dataset.metadata import label_values, organ_names, read_metadata, regions_in
from autoseg.dataset.regions import IGNORE
from autoseg.dataset.tables import read_table
from autoseg.errors import DatasetError
from autoseg.imaging.segment_values import TABLE, is_pattern, spelling_key
from autoseg.labels import HIGHEST_VALUE, MOST_LABELS, Label, LabelScheme, organ_key
from autoseg.words import shortened

COLUMNS = ("organ", "value", "names")
MOST_TOLD = 20  # of what is wrong with a table: more are counted
BACKGROUND = "background"


def with_table(beside: Path, listed: LabelScheme | None, is_new: bool = True) -> LabelScheme | None:
    """Return the labels of a dataset with what the table beside it says; without a table as they are.

    Args:
        beside: The dataset's file.
        listed: Labels of its dataset.json, which the table may give further names; None: the table says all.
        is_new: False: a RUN was planned for it, perhaps when a table of that name meant nothing.

    Raises:
        DatasetError: If the table cannot be read or contradicts itself or the dataset.json; everything in one line.
    """
    file = beside.with_name(TABLE)
    if file == beside or not file.is_file():
        return listed
    sheet = read_table(file)
    columns = [column.lower() for column in sheet.columns]
    if not is_new and "organ" not in columns:
        return listed
    required = COLUMNS[:1] if listed else COLUMNS[:2]
    if lacking := [column for column in required if column not in columns]:
        raise DatasetError(
            f"{file}: needs the columns {','.join(COLUMNS)}, found {shortened(','.join(sheet.columns)) or 'none'}; add "
            f"{', '.join(lacking)}, or rename the file if it is another table"
        )
    return _scheme(file, sheet.rows, listed)


def _scheme(file: Path, rows: Mapping[int, Mapping[str, str]], listed: LabelScheme | None) -> LabelScheme:
    labels: dict[int, Label] = {}  # by line
    ignored = None if listed is None else listed.ignored
    problems: list[str] = []
    for line, row in rows.items():
        organ, text = row["organ"], row.get("value", "")
        value = _value(organ, text, listed)
        if isinstance(value, str):
            problems.append(f"line {line}: {value}")
        elif organ.casefold() == IGNORE:
            ignored = value
        elif value:
            names = dict.fromkeys(name.strip() for name in row.get("names", "").split(";"))
            labels[line] = Label(value=value, name=organ, names=tuple(name for name in names if name))
    problems += _contradictions(labels)
    values = {label.value for label in labels.values()}
    if ignored in values:
        problems.append(f"the value {ignored} is both an organ's and {IGNORE}")
    if problems:
        more = f"; and {len(problems) - MOST_TOLD} more" if len(problems) > MOST_TOLD else ""
        raise DatasetError(f"{file}: {'; '.join(problems[:MOST_TOLD])}{more}; correct the table")
    if not 1 <= len(labels) <= MOST_LABELS:
        raise DatasetError(f"{file}: names {len(labels)} organs; 1 to {MOST_LABELS} are possible")
    if listed is None:
        return LabelScheme(labels=tuple(sorted(labels.values(), key=lambda label: label.value)), ignored=ignored)
    names_of = {label.value: label.names for label in labels.values()}
    named = (Label(value=one.value, name=one.name, names=names_of.get(one.value, ())) for one in listed.labels)
    return replace(listed, labels=tuple(named))


def _value(organ: str, text: str, listed: LabelScheme | None) -> int | str:
    """Return the value of a row, 0 of one that names no organ; or what is wrong with it."""
    if not organ:
        return "names no organ"
    known = [] if listed is None else [one for one in listed.labels if organ_key(one.name) == organ_key(organ)]
    own = organ.casefold() in (BACKGROUND, IGNORE)
    if listed is not None and not known and not own:
        return f"dataset.json has no label {shortened(organ)}"
    if known and not text:
        return known[0].value
    if not text:
        return f"{shortened(organ)} has no value"
    number = int(text) if text.isdecimal() and len(text) < len(str(HIGHEST_VALUE)) + 1 else -1
    if not 0 <= number <= HIGHEST_VALUE or (number == 0) != (organ.casefold() == BACKGROUND):
        return f"the value of {shortened(organ)}, {shortened(text)}, is no whole number from 1 to {HIGHEST_VALUE}"
    if known and number != known[0].value:
        return f"{shortened(organ)} has the value {number}, and {known[0].value} in dataset.json"
    if listed is not None and organ.casefold() == IGNORE and number != listed.ignored:
        return f"{organ} has the value {number}, and {listed.ignored} in dataset.json"
    return number


def _contradictions(labels: Mapping[int, Label]) -> Iterator[str]:
    """Yield the rows that claim what an earlier one has: an organ, a value or a name."""
    organs: dict[str, int] = {}
    values: dict[int, int] = {}
    names: dict[str, int] = {}
    for line, label in labels.items():
        if (other := organs.setdefault(organ_key(label.name), line)) != line:
            yield f"line {line}: {shortened(label.name)} stands in line {other}, too"
        elif (other := values.setdefault(label.value, line)) != line:
            yield f"lines {other} and {line}: {labels[other].name} and {label.name} both have the value {label.value}"
    for line, label in labels.items():
        names.setdefault(spelling_key(label.name), line)
    for line, label in labels.items():
        for name in label.names:
            other = names.setdefault(spelling_key(name), line)
            if other != line and (is_pattern(name) or organ_key(label.name) != organ_key(labels[other].name)):
                yield f"lines {other} and {line}: {shortened(name)} is a name of {labels[other].name} and {label.name}"


def names_in_files(file: Path) -> dict[int, tuple[str, ...]]:
    """Return what files call organs beside their names: as a plan.json says, or the labels.csv beside a dataset.json.

    Raises:
        DatasetError: If labels.csv cannot be read or contradicts the dataset.json.
    """
    labels = read_metadata(file)["labels"]
    if isinstance(labels, list):  # a plan of ours, whose values and names `organ_names` has checked
        called = {value: organ.get("names") for organ in labels for value in label_values(organ["value"])}
        return {value: tuple(map(str, names)) if isinstance(names, list) else () for value, names in called.items()}
    named = organ_names(file)
    if len(named) > MOST_LABELS or not file.with_name(TABLE).is_file():  # of more than that no network is made
        return {}
    organs = tuple(Label(value=value, name=name) for value, name in sorted(named.items()))
    scheme = with_table(file, regions_in(file) or LabelScheme(labels=organs), is_new=False)
    return {} if scheme is None else {label.value: label.names for label in scheme.labels}
