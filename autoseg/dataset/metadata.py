"""The content of a dataset.json: channels, labels, partly labelled cases; and label names from any file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.dataset.regions import IGNORE, region_scheme
from autoseg.errors import DatasetError, RunError
from autoseg.json_file import JsonError, read_json
from autoseg.labels import HIGHEST_VALUE, MOST_LABELS, Label, LabelScheme, organ_key
from autoseg.words import shortened

_SPELLED = re.compile(r"[(\[]?\s*(\d{1,9})(?:\.0*)?\s*,?\s*[)\]]?")  # of a value as text, such as "1.0" or "(1,)"
MOST_DIGITS = 9  # of a label's value; enough to tell how far it is from what is possible
EXAMPLE = '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}'
KNOWN = frozenset(("case", "image", "images", "label", "patient", "labelled", "labeled", "split", "fold"))
LABELLED = '"labelled": {"case7": ["liver", "spleen"]}'


def read_metadata(file: Path) -> dict[str, Any]:
    """Read a dataset.json.

    Raises:
        DatasetError: If it cannot be read, or is no JSON object; the text names the line.
    """
    try:
        return read_json(file, dict)
    except JsonError as error:
        raise DatasetError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error}); look at its permissions, or copy it again") from error


def channels_of(file: Path, meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the channels' names in order, from nnU-Net's key or the Decathlon's."""
    names = meta.get("channel_names", meta.get("modality"))
    if names is None:
        raise DatasetError(f'{file}: has neither "channel_names" nor "modality"; add "channel_names": {{"0": "CT"}}')
    if isinstance(names, list):
        names = {str(i): name for i, name in enumerate(names)}
    if not isinstance(names, dict) or not names or sorted(names) != sorted(str(i) for i in range(len(names))):
        raise DatasetError(
            f'{file}: channels must be numbered from 0, as in {{"0": "CT"}}; found {shortened(repr(names))}'
        )
    return tuple(str(names[str(i)]) for i in range(len(names)))


def scheme_of(file: Path, meta: Mapping[str, Any], is_new: bool = True) -> LabelScheme:
    """Return the organs by value; the file says name to value (nnU-Net) or value to name (Decathlon).

    The name "ignore" is no organ: its value says that the truth of a voxel is not known. Where a label is a list of
    values, all are regions, in the order of the file.

    Args:
        file: For messages.
        meta: Its content.
        is_new: Whether names must differ in more than capitals and blanks; in earlier RUNs they need not.

    Raises:
        DatasetError: If they are missing, or a name or a value is none or occurs twice.
    """
    entries = meta.get("labels")
    if not isinstance(entries, dict) or not entries:
        raise DatasetError(f'{file}: "labels" is missing; add "labels": {{"background": 0, "liver": 1}}')
    if any(isinstance(entry, list) and len(entry) != 1 for entry in entries.values()):
        return region_scheme(file, meta)
    organs: dict[int, str] = {}
    for name, value in (_name_and_value(file, key, entry) for key, entry in entries.items()):
        if value in organs:
            raise DatasetError(f"{file}: labels {organs[value]!r} and {name!r} both have the value {value}")
        same = [other for other in organs.values() if organ_key(other) == organ_key(name)]
        if value and name in same:
            raise DatasetError(f"{file}: two labels are called {name!r}; give each its own name")
        if value and same and is_new:  # a comparison, and some file systems, would take them for one
            raise DatasetError(
                f"{file}: the names of labels {same[0]!r} and {name!r} differ only in capitals or blanks; "
                "give each its own name"
            )
        if value and name.casefold() == "background" and is_new:
            raise DatasetError(f"{file}: label {name!r} has the value {value}; background is 0, correct the values")
        if name.casefold() == IGNORE and not value:
            raise DatasetError(f"{file}: label {name!r} has the value 0, which is background; give it another, as 255")
        organs[value] = name
    organs.pop(0, None)
    ignored = next((value for value, name in organs.items() if name.casefold() == IGNORE), None)
    organs = {value: name for value, name in organs.items() if value != ignored}
    if not 1 <= len(organs) <= MOST_LABELS:
        raise DatasetError(f"{file}: names {len(organs)} labels beside background; 1 to {MOST_LABELS} are possible")
    labels = tuple(Label(value=value, name=organs[value]) for value in sorted(organs))
    return LabelScheme(labels=labels, ignored=ignored)


def _name_and_value(file: Path, key: str, entry: object) -> tuple[str, int]:
    while isinstance(entry, list) and len(entry) == 1:
        entry = entry[0]  # as nnU-Net's files of regions have plain organs
    if isinstance(entry, str) and not _is_whole(key) and (spelled := _SPELLED.fullmatch(entry.strip())):
        entry = spelled[1]
    name, number = key.strip(), entry
    if isinstance(entry, str) and (_is_whole(key) or not _is_whole(entry)):  # the Decathlon: value to name
        name, number = entry.strip(), key
    if isinstance(number, str) and _is_whole(number):
        number = int(number)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= HIGHEST_VALUE:
        raise DatasetError(
            f"{file}: label {key!r}: {shortened(repr(entry))} needs a whole number from 0 to {HIGHEST_VALUE}"
        )
    if not name:
        raise DatasetError(f"{file}: the label with value {number} has no name; name it")
    return name, number


def _is_whole(text: str) -> bool:
    return text.strip().isdecimal() and len(text.strip()) <= MOST_DIGITS


def about_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return what a row or entry says of a case beside its files, as text; blanks and lists are left out.

    >>> about_of({"case": "a", "image": "a.nii.gz", "sex": "F", "age": 61, "scanner": ""})
    {'sex': 'F', 'age': '61'}
    """
    values = {str(key): value for key, value in fields.items() if str(key).casefold() not in KNOWN and key}
    return {
        key: str(value).strip()
        for key, value in values.items()
        if isinstance(value, str | int | float) and str(value).strip()
    }


def labelled_of(meta: Mapping[str, Any]) -> Any:
    """Return the entry of a dataset.json on partly labelled cases, for `labelled_values` to check."""
    return meta.get("labelled", meta.get("labeled", {}))


def labelled_values(
    file: Path, named: object, labels: Sequence[Label], cases: Collection[str]
) -> dict[str, tuple[int, ...]]:
    """Return the values of the organs that each named case is labelled with; cases not named have all.

    Args:
        file: The file that names them, for messages.
        named: The entry: case id to names of organs.
        labels: Of the dataset.
        cases: Ids of the dataset.

    Raises:
        DatasetError: If it is of another form, or names a case or an organ that the dataset does not have.
    """
    if not isinstance(named, dict):
        raise DatasetError(
            f"{file}: labelled must name organs by case, as in {LABELLED}; found {shortened(repr(named))}"
        )
    values = {label.name: label.value for label in labels}
    labelled = {}
    for case, organs in named.items():
        if case not in cases:
            raise DatasetError(f"{file}: labelled names the case {case!r}, which the dataset does not have; correct it")
        if not isinstance(organs, list) or not organs:
            raise DatasetError(f"{file}: labelled, {case}: needs a list of organs, as in {LABELLED}; found {organs!r}")
        unknown = [organ for organ in organs if not isinstance(organ, str) or organ not in values]
        if unknown:
            names = ", ".join(list(values)[:10]) + (", …" if len(values) > 10 else "")
            raise DatasetError(f"{file}: labelled, {case}: {unknown[0]!r} is not one of the labels ({names})")
        if set(organs) != set(values):  # else it is like any other
            labelled[case] = tuple(sorted({values[organ] for organ in organs}))
    return labelled


def label_values(key: Any) -> tuple[int, ...]:
    """Return the label values of an organ, or of a region of nnU-Net.

    >>> label_values("1"), label_values("(1, 2)"), label_values([1, 2])
    ((1,), (1, 2), (1, 2))
    """
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    return tuple(int(digits) for digits in re.findall(r"-?\d+", str(key)))


def names_by_values(file: Path) -> dict[tuple[int, ...], str]:
    """Read the names of organs and regions by their label values; background is among them where it is named.

    Raises:
        RunError: If the file has none.
    """
    try:
        labels = read_json(file, dict)["labels"]
        if isinstance(labels, list):  # a plan of ours
            return {label_values(organ["value"]): str(organ["name"]) for organ in labels}
        by_value = all(str(key).isdigit() for key in labels)  # the Decathlon; nnU-Net has the names first
        pairs = labels.items() if by_value else [(value, name) for name, value in labels.items()]
        return {label_values(value): str(name) for value, name in pairs}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{file}: holds no label names ({error!r}); give a dataset.json or a plan.json, "
            'with "labels" as in {"1": "liver"}'
        ) from error


def labelled_organs(file: Path) -> dict[str, tuple[int, ...]]:
    """Read the values of the organs that each case is labelled with; cases that the file does not name have all.

    Raises:
        RunError: If the file has no organs' names.
        DatasetError: If it names the organs of cases in another form than {"case7": ["liver", "spleen"]}.
    """
    labels = [Label(value=value, name=name) for value, name in organ_names(file).items()]
    named = labelled_of(read_metadata(file))
    return labelled_values(file, named, labels, named if isinstance(named, dict) else ())  # any case may be in it


def ignored_value(file: Path) -> int | None:
    """Read which value means that the truth of a voxel is not known, from a dataset.json or a plan.json; None: none.

    Raises:
        RunError: If the file has no names of labels.
    """
    named = next((values for values, name in names_by_values(file).items() if name.casefold() == IGNORE), None)
    if named is not None:
        return named[0]
    value = read_metadata(file).get("ignored")  # a plan of ours
    return value if isinstance(value, int) else None


def regions_in(file: Path) -> LabelScheme | None:
    """Read the regions of a dataset.json or a plan.json; None where organs are disjoint.

    Raises:
        DatasetError: If it cannot be read.
        RunError: If its regions contradict each other.
    """
    meta = read_metadata(file)
    labels = meta.get("labels")
    if isinstance(labels, list):  # a plan of ours
        regions = meta.get("regions")
        organs = tuple(Label(value=organ["value"], name=organ["name"]) for organ in labels) if regions else ()
        return LabelScheme(labels=organs, regions=tuple(map(tuple, regions))) if regions else None
    is_region = isinstance(labels, dict) and any(isinstance(one, list) and len(one) != 1 for one in labels.values())
    try:
        return region_scheme(file, meta) if is_region else None
    except DatasetError as error:
        raise RunError(str(error)) from error


def organ_names(file: Path) -> dict[int, str]:
    """Read the names of organs by their one label value, without background and the value to ignore.

    Raises:
        RunError: If the file has none, or a label is a region or no label value.
    """
    named = names_by_values(file)
    if (scheme := regions_in(file)) is not None:
        return scheme.names
    for values, name in named.items():
        if len(values) != 1:
            raise RunError(f"{file}: label {name!r} is a region or has no value; list one value a label")
        if not 0 <= values[0] <= HIGHEST_VALUE:
            raise RunError(f"{file}: label {name!r} has the value {values[0]}; labels lie from 0 to {HIGHEST_VALUE}")
    return {values[0]: name for values, name in named.items() if values[0] and name.casefold() != IGNORE}
