"""Texts that are passed on, without the folders of this machine: a patient's name may be in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from autoseg.dataset.origin import read_origin
from autoseg.run import Run

_FOLDERS = re.compile(r"(?<![\w.~/<])(?:~[\w.-]*)?/(?:[^\s/:'\"<>|,;()][^/:'\"\n<>|,;()]*/)+")  # up to the last name
_NO_PATH = re.compile(r"\d+/\d+|\w+://.*")  # a part of an array, the address of a scheduler


def without_folders(text: str, run: Run) -> str:
    """Return a text with its paths relative to the dataset or the RUN where they lie there, else as names alone."""
    return _FOLDERS.sub("", _without(text, _known_folders(run)))


def row_without_folders(row: Mapping[str, object], run: Run) -> dict[str, object]:
    """Return a row of the data check without folders, as by `without_folders`, whatever that of its file is called."""
    known = _known_folders(run)
    file = Path(str(row.get("file", "")))
    folders = known if any(file.is_relative_to(folder) for folder in known) else known | {str(file.parent)}
    return {
        key: _FOLDERS.sub("", _without(value, folders)) if isinstance(value, str) else value
        for key, value in row.items()
    }


def _without(text: str, folders: Iterable[str]) -> str:
    for folder in sorted(folders, key=len, reverse=True):
        if Path(folder).is_absolute():
            text = re.sub(rf"(?<![\w.]){re.escape(folder)}(?:[/\\]|(?![\w.-]))", "", text)
    return text


def command_without_folders(command: str, run: Run) -> str:
    """Return a command in which the RUN and its dataset stand as RUN and DATASET, and other files by their names."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote is missing: a line that was cut
        return without_folders(command, run)
    dataset = run.folder / str(read_origin(run).get("dataset", "DATASET"))
    names = {"RUN": run.folder.absolute(), "DATASET": dataset.absolute()}
    told = [_word(word, names, before) for before, word in pairwise(words[1:])]
    return shlex.join([*words[:2], *told])


def _word(word: str, names: dict[str, Path], before: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("-") or before == "--set" else ("", "", word)
    if _NO_PATH.fullmatch(value):
        return word
    parts = [part for part in Path(value).parts if part not in (".", "..", "~")]
    for name, path in names.items():
        if parts and list(path.parts[-len(parts) :]) == parts:
            return f"{option}{equals}{name}"
    return f"{option}{equals}{parts[-1]}" if parts and parts != [value] else word


def _known_folders(run: Run) -> set[str]:
    """Return the folders of the RUN and its dataset, as given and without links."""
    dataset = run.folder / str(read_origin(run).get("dataset", ""))
    folders = {run.folder.absolute(), (dataset if dataset.is_dir() else dataset.parent).absolute()}
    return {str(path) for folder in folders for path in (folder, folder.resolve()) if len(path.parts) > 1}
