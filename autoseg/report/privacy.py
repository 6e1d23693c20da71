"""Texts that are passed on, without the folders of this machine: a patient's name may be in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from autoseg.dataset.origin import dataset_of, read_origin
from autoseg.errors import AutosegError
from autoseg.run import Run

_FOLDERS = re.compile(r"(?<![\w.~/<])(?:~[\w.-]*)?/(?:[^\s/:'\"<>|,;()][^/:'\"\n<>|,;()]*/)+")  # up to the last name
_START = re.compile(r"(?<![\w.~/<])/")  # of a path within a text


def without_folders(text: str, run: Run) -> str:
    """Return a text with its paths relative to the dataset or the RUN where they lie there, else as names alone."""
    for folder in sorted(_known_folders(run), key=len, reverse=True):
        text = re.sub(rf"(?<![\w.]){re.escape(folder)}(?:[/\\]|(?![\w.-]))", "", text)
    return _FOLDERS.sub("", text)


def rows_without_folders(rows: Iterable[Mapping[str, object]], run: Run) -> tuple[dict[str, object], ...]:
    """Return the rows of a data check, their texts as by `without_folders`, whatever the folders of files are called.

    Those of the dataset's files count, and of the files of the rows: a text may name several.
    """
    told = [dict(row) for row in rows]
    if not told:
        return ()
    known, parents = _known_folders(run), {Path(str(row.get("file", ""))).parent for row in told}
    with suppress(AutosegError, OSError):
        parents |= {file.parent for case in dataset_of(run).cases for file in (*case.images, *case.label_files)}
    elsewhere = {
        str(folder)
        for parent in parents
        for folder in (parent, parent.resolve())
        if len(folder.parts) > 1 and not any(folder.is_relative_to(one) for one in known)
    }
    return tuple(
        {
            key: without_folders(_without(value, elsewhere), run) if isinstance(value, str) else value
            for key, value in row.items()
        }
        for row in told
    )


def _without(text: str, folders: Collection[str]) -> str:
    """Return a text in which a path below any of some folders is its last name; of very many none is tried in turn."""
    done, rest = "", text
    while folders and (start := _START.search(rest)) is not None:
        begin = start.start()
        ends = [place.start() for place in re.finditer("/", rest[begin + 1 :])]
        long = [begin + 1 + end for end in ends if rest[begin : begin + 1 + end] in folders]
        if not long:
            done, rest = done + rest[: begin + 1], rest[begin + 1 :]
            continue
        below = re.match(r"/(?:[^\s/]+/)*", rest[long[-1] :])
        done, rest = done + rest[:begin], rest[long[-1] + (below.end() if below else 0) :]
    return done + rest


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
    """Return a word of a command; what `--part` and `--cluster` have is no path, unless a file: address."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    of = option or before
    if of == "--set" and "=" in value:
        key, _, value = value.partition("=")
        option, equals = f"{option}{equals}{key}", "="
        if not value.startswith(("/", "~", ".")):  # a number, a word or a list
            return word
    if of == "--part" or (of == "--cluster" and re.fullmatch(r"(?!file:)\w+://.*", value)):
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
