"""Texts that are passed on, without the folders of this machine: a patient's name may be in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from autoseg.dataset.origin import read_origin
from autoseg.run import Run

_FOLDERS = re.compile(r"(?<![\w.~/<])(?:~[\w.-]*)?/(?:[^\s/:'\"<>|,;()][^/:'\"\n<>|,;()]*/)+")  # up to the last name


def without_folders(text: str, run: Run) -> str:
    """Return a text with its paths relative to the dataset or the RUN where they lie there, else as names alone."""
    for folder in sorted(_known_folders(run), key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){re.escape(folder)}(?:/|(?![\w.-]))", "", text)
    return _FOLDERS.sub("", text)


def command_without_folders(command: str, run: Run) -> str:
    """Return a command in which the RUN and its dataset stand as RUN and DATASET, and other files by their names."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote is missing: a line that was cut
        return without_folders(command, run)
    dataset = run.folder / str(read_origin(run).get("dataset", "DATASET"))
    names = {"RUN": run.folder.absolute(), "DATASET": dataset.absolute()}
    return shlex.join([*words[:2], *(_word(word, names) for word in words[2:])])


def _word(word: str, names: dict[str, Path]) -> str:
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    parts = [part for part in Path(value).parts if part not in (".", "..", "~")]
    for name, path in names.items():
        if parts and list(path.parts[-len(parts) :]) == parts:
            return f"{option}{equals}{name}"
    return f"{option}{equals}{parts[-1]}" if "/" in value and parts else word


def _known_folders(run: Run) -> set[str]:
    """Return the folders of the RUN and its dataset, as given and without links."""
    dataset = run.folder / str(read_origin(run).get("dataset", ""))
    folders = {run.folder.absolute(), (dataset if dataset.is_dir() else dataset.parent).absolute()}
    return {str(path) for folder in folders for path in (folder, folder.resolve()) if len(path.parts) > 1}
