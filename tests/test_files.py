"""Files appear whole or not at all, and an error names the file that the user knows."""

from __future__ import annotations

import errno
import io
import itertools
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from autoseg import files
from autoseg.files import atomic_path, remove_leftovers, replacing, write_generation, write_text
from autoseg.processes import boot_digest, host_digest


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


def test_what_a_dead_process_of_this_host_has_left_goes_at_once_and_what_a_living_one_writes_stays(
    tmp_path: Path,
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = f"{host_digest()}-{boot_digest()}"
    left = [tmp_path / f".{dead.pid}-{host}.a.txt", tmp_path / f".{dead.pid}-{host_digest()}.a.txt"]  # now and before
    living = [tmp_path / f".{os.getppid()}-{host}.a.txt", tmp_path / f".{os.getppid()}-{host_digest()}.a.txt"]
    elsewhere = [tmp_path / f".{dead.pid}-0123ab.a.txt", tmp_path / f".{dead.pid}-{host_digest()}-0123ab.a.txt"]
    for file in (*left, *living, *elsewhere):
        file.write_text("half")
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*living, *elsewhere])


def test_a_folder_is_looked_at_once_however_many_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    removed: list[Path] = []
    scandir, unlink = os.scandir, Path.unlink

    def noted(folder: str | Path) -> Any:
        listed.append(str(folder))
        return scandir(folder)

    def unlinked(file: Path, missing_ok: bool = False) -> None:
        if file.exists():
            removed.append(file)
        unlink(file, missing_ok)

    monkeypatch.setattr(os, "scandir", noted)
    monkeypatch.setattr(Path, "unlink", unlinked)
    for number in range(50):
        write_text(tmp_path / f"{number}.txt", "whole")
    assert listed == [str(tmp_path)]
    assert len(removed) == 1  # one that was made to see with which permissions files are made here


def test_hosts_of_one_name_and_their_equal_processes_write_to_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for boot in ("0123ab", "4567cd"):
        monkeypatch.setattr(files, "boot_digest", lambda boot=boot: boot)
        with atomic_path(tmp_path / "a.txt") as beside:
            beside.write_text("whole")
            names.append(beside.name)
    assert names[0] != names[1]
    assert all(files.LEFTOVER.fullmatch(name) for name in names)


def texts_of(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_a_kill_leaves_a_generation_of_files_as_it_was_or_without_its_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in ("split", "data", "plan")]
    old, new = dict.fromkeys(files, "old"), dict.fromkeys(files, "new")
    real = {"fsync": os.fsync, "replace": os.replace}
    steps = 0

    def killed_at(what: str, nth: int) -> dict[str, str]:
        write_generation(old)
        calls = itertools.count()

        def call(*args: Any) -> None:
            if next(calls) == nth:
                raise KeyboardInterrupt
            real[what](*args)

        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(os, what, call)
            write_generation(new)
        return texts_of(tmp_path)

    for what, nth in [("fsync", n) for n in range(6)] + [("replace", n) for n in range(3)]:
        texts = killed_at(what, nth)
        assert "plan" not in texts or set(texts.values()) == {"old"}
        steps += "plan" in texts
    assert steps == 3  # as long as the new ones are being written
    write_generation(new)
    assert texts_of(tmp_path) == {"split": "new", "data": "new", "plan": "new"}


def test_a_full_disk_leaves_the_whole_old_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / name for name in ("split", "plan")]
    write_generation(dict.fromkeys(files, "old"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_generation(dict.fromkeys(files, "new"))
    assert texts_of(tmp_path) == {"split": "old", "plan": "old"}


def test_the_path_beside_ends_in_the_suffix_as_a_writer_needs_it(tmp_path: Path) -> None:
    left = tmp_path / ".12.A.nii"
    left.write_text("half")
    os.utime(left, (0, 0))
    with atomic_path(tmp_path / "A.NII", ".nii") as beside:
        assert beside.name == f".{os.getpid()}-{host_digest()}-{boot_digest()}.A.nii"
        beside.write_text("whole")
    with atomic_path(tmp_path / "b.nii", ".nii") as beside:
        assert beside.name == f".{os.getpid()}-{host_digest()}-{boot_digest()}.b.nii"
        beside.write_text("whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["A.NII", "b.nii"]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_a_file_has_the_mode_that_the_umask_gives_whatever_its_writer_set(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "a.bin") as beside:
            beside.touch(0o600)
        write_text(tmp_path / "a.txt", "new")
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o666 & ~umask}


@pytest.mark.parametrize("letter", ["a", "é"])
def test_a_name_as_long_as_the_system_allows_is_written(tmp_path: Path, letter: str) -> None:
    file = tmp_path / f"{letter * (248 // len(os.fsencode(letter)))}.nii.gz"
    with atomic_path(file) as beside:
        assert beside.name.endswith(".nii.gz")
        beside.write_text("whole")
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose turns are the seconds slept; until 0.35 s files are open elsewhere, so Windows replaces none."""
    slept, replace = [0.0], os.replace

    def refused(beside: Path, file: Path) -> None:
        if sum(slept) < 0.35:
            raise PermissionError(errno.EACCES, "it is open", str(beside))
        replace(beside, file)

    monkeypatch.setattr(os, "replace", refused)
    monkeypatch.setattr(files.time, "sleep", slept.append)
    monkeypatch.setattr(files.time, "monotonic", lambda: sum(slept))
    return slept


def test_on_windows_a_file_that_another_program_has_open_is_waited_for(
    opened: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    write_text(tmp_path / "scores.csv", "new")
    assert (tmp_path / "scores.csv").read_text() == "new"
    assert len(opened) == 1 + 4  # at 0.1, 0.2, 0.3 and 0.4 s


def test_a_file_that_stays_open_is_named_and_elsewhere_nobody_waits(
    opened: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scores.csv"
    with pytest.raises(PermissionError) as refused:
        write_text(file, "new")
    assert (refused.value.filename, len(opened)) == (str(file), 1)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(files, "OPEN_S", 0.2)
    with pytest.raises(PermissionError) as refused:
        write_text(file, "new")
    assert refused.value.filename == str(file)
    assert not list(tmp_path.iterdir())


def test_lines_end_alike_on_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    opener = io.open

    def noted(*arguments: Any, **named: Any) -> Any:
        ends.extend([named.get("newline", (*arguments, *[None] * 6)[5])] if "w" in (*arguments, "r")[1] else [])
        return opener(*arguments, **named)

    monkeypatch.setattr(io, "open", noted)  # what pathlib opens with
    write_text(tmp_path / "plan.json", "{\n}\n")
    write_generation({tmp_path / "a": "1\n", tmp_path / "b": "2\n"})
    assert [end for end in ends if end is not None] == ["\n"] * 3


def test_of_files_that_are_replaced_those_not_written_anew_go_and_after_an_error_none(tmp_path: Path) -> None:
    old, new, none, folder = (tmp_path / name for name in ("old.csv", "new.csv", "none.csv", "folder"))
    folder.mkdir()
    for file in (old, new):
        file.write_text("before")
    with pytest.raises(RuntimeError), replacing([old, new, none, folder]):
        raise RuntimeError
    assert old.exists()
    with replacing([old, new, none, folder]):
        write_text(new, "before")  # the same again
    assert (old.exists(), new.exists(), folder.is_dir()) == (False, True, True)
