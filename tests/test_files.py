"""Files appear whole or not at all, and an error names the file that the user knows."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from autoseg.files import atomic_path, write_text


def test_a_file_appears_whole_in_a_new_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "ü")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "ü"
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, None])
def test_a_write_that_fails_names_the_file_and_leaves_the_old_one(tmp_path: Path, code: int | None) -> None:
    write_text(tmp_path / "a.txt", "old")
    refused = OSError(code, "No space left on device") if code else OSError("7 of 9 written")

    def write() -> None:
        with atomic_path(tmp_path / "a.txt") as beside:
            beside.write_text("half", encoding="utf-8")
            raise refused

    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.txt'"):
        write()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_in_the_way_is_named_as_the_user_knows_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match=r"'.*/a\.txt'"):
        write_text(tmp_path / "a.txt", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.txt"), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "missing.txt").read_text(encoding="utf-8")


def test_what_a_killed_process_has_left_goes_when_the_file_is_written_again(tmp_path: Path) -> None:
    names = {"left": ".12.a.txt", "of now": ".13.a.txt", "another's": ".12.b.txt", "a user's": ".old.a.txt"}
    for name in names.values():
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / names["of now"])
    write_text(tmp_path / "a.txt", "new")
    assert {file.name for file in tmp_path.iterdir()} == {"a.txt", *names.values()} - {names["left"]}


def test_the_path_beside_ends_in_the_suffix_as_a_writer_needs_it(tmp_path: Path) -> None:
    left = tmp_path / ".12.A.nii"
    left.write_text("half")
    os.utime(left, (0, 0))
    with atomic_path(tmp_path / "A.NII", ".nii") as beside:
        assert beside.name == f".{os.getpid()}.A.nii"
        beside.write_text("whole")
    with atomic_path(tmp_path / "b.nii", ".nii") as beside:
        assert beside.name == f".{os.getpid()}.b.nii"
        beside.write_text("whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["A.NII", "b.nii"]
