"""Names of label values, from any file that has them: nnU-Net's or the Decathlon's dataset.json, or a plan.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from autoseg.dataset.metadata import HIGHEST_VALUE, labelled_of, labelled_values, read_json
from autoseg.errors import RunError
from autoseg.labels import Label


def label_values(key: Any) -> tuple[int, ...]:
    """Return the label values of an organ, or of a region of nnU-Net.

    >>> label_values("1"), label_values("(1, 2)"), label_values([1, 2])
    ((1,), (1, 2), (1, 2))
    """
    return tuple(int(digits) for digits in re.findall(r"-?\d+", str(key)))


def names_by_values(file: Path) -> dict[tuple[int, ...], str]:
    """Read the names of organs and regions by their label values; background is among them where it is named.

    Raises:
        RunError: If the file has none.
    """
    try:
        labels = json.loads(file.read_text(encoding="utf-8-sig"))["labels"]
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
    named = labelled_of(read_json(file))
    return labelled_values(file, named, labels, named if isinstance(named, dict) else ())  # any case may be in it


def organ_names(file: Path) -> dict[int, str]:
    """Read the names of organs by their one label value, without background.

    Raises:
        RunError: If the file has none, or a label is a region or no label value.
    """
    named = names_by_values(file)
    for values, name in named.items():
        if len(values) != 1:
            raise RunError(f"{file}: label {name!r} is a region or has no value; list one value a label")
        if not 0 <= values[0] <= HIGHEST_VALUE:
            raise RunError(f"{file}: label {name!r} has the value {values[0]}; labels lie from 0 to {HIGHEST_VALUE}")
    return {values[0]: name for values, name in named.items() if values[0]}
