"""Tests of autoseg.part_notes: what parts leave, and who takes it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from autoseg.digests import file_digest
from autoseg.errors import AutosegError, VolumeError
from autoseg.part_notes import Form, clear_notes, part_notes
from autoseg.parts import Part

FORM: Form[Path, tuple[str, float]] = Form(
    dump=list, load=lambda pair: (str(pair[0]), float(pair[1])), content=file_digest, how="code"
)
read: list[str] = []


def measured(file: Path) -> tuple[str, float]:
    read.append(file.name)
    if file.name == "e":
        raise VolumeError("e is bad")
    return file.read_text(), 0.1 + 0.2


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    read.clear()
    for name in "abcde":
        (tmp_path / name).write_text(name)
    return {name: tmp_path / name for name in "abcde"}


def do(files: dict[str, Path], product: Path, part: Part | None) -> dict[str, tuple[str, float] | AutosegError]:
    with part_notes(product, "autoseg score", part, FORM) as notes:
        return dict(notes.each(measured, files, 1))


def test_the_call_that_gathers_does_what_no_part_has_done_and_what_has_changed_since(
    files: dict[str, Path], tmp_path: Path
) -> None:
    product = tmp_path / "out" / "scores.csv"
    assert list(do(files, product, Part(1, 2))) == ["a", "c", "e"]
    assert list(do(files, product, Part(2, 2))) == ["b", "d"]
    assert do(files, product, Part(2, 2)) == {}  # it is done
    before = files["c"].stat()
    files["c"].write_text("C")
    os.utime(files["c"], ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` of a file of the same size
    with (product.parent / "scores.csv.parts" / "2-of-2.jsonl").open("a") as stream:
        stream.write('{"case": "a", "sour')  # by a process that was killed
    read.clear()
    results = do(files, product, None)
    assert sorted(read) == ["c", "e"]
    assert str(results.pop("e")) == "e is bad"
    assert results == {name: ("C" if name == "c" else name, 0.1 + 0.2) for name in "abcd"}
    clear_notes(product, "autoseg score")
    assert os.listdir(product.parent) == []


def test_notes_that_a_part_adds_to_are_not_cleared(files: dict[str, Path], tmp_path: Path) -> None:
    product, begun, end = tmp_path / "out" / "scores.csv", threading.Event(), threading.Event()

    def work() -> None:
        with part_notes(product, "autoseg score", Part(1, 1), FORM) as notes:
            begun.set()
            end.wait()
            list(notes.each(measured, files, 1))

    part = threading.Thread(target=work)
    part.start()
    begun.wait()
    clear_notes(product, "autoseg score")
    end.set()
    part.join()
    read.clear()
    assert len(do(files, product, None)) == 5
    assert read == ["e"]


def test_without_parts_nothing_is_left(files: dict[str, Path], tmp_path: Path) -> None:
    assert len(do(files, tmp_path / "out" / "scores.csv", None)) == 5
    assert not (tmp_path / "out").exists()
