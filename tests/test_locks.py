"""One writer at a time: the second is told who holds a folder, the dead hold nothing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autoseg import locks
from autoseg.errors import LockedError
from autoseg.locks import lock

HOLD = """
import sys, time
from pathlib import Path
from autoseg.locks import lock
with lock(Path(sys.argv[1]), "autoseg train"):
    print("held", flush=True)
    time.sleep(60)
"""
TAKE = """
import sys
from pathlib import Path
from autoseg.locks import lock
with lock(Path(sys.argv[1]), "x"):
    print("taken")
"""


def holding(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as told:
        assert told.readline() == "held\n"
    return process


def refuse(*_: object) -> None:
    """Be `flock` on a file system that has no locks."""
    raise OSError(errno.ENOLCK, "No locks available")


class Msvcrt:
    """What Windows has in the place of fcntl, held by what is here: a lock of one byte, refused by EACCES."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.places: list[int] = []

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (self.LK_NBLCK, 1)
        self.places.append(os.lseek(descriptor, 0, os.SEEK_CUR))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Msvcrt:
    """Windows, as far as locks see it: other modules, no pwrite, and no file removed that this process has open."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs to see which files are open")
    own, unlink = Msvcrt(), Path.unlink

    def removed(file: Path, missing_ok: bool = False) -> None:
        opened = {os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if os.path.lexists(entry)}
        if str(file) in opened:
            raise PermissionError(errno.EACCES, "it is open", str(file))
        unlink(file, missing_ok=missing_ok)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", own)
    monkeypatch.delattr(os, "pwrite")
    monkeypatch.setattr(Path, "unlink", removed)
    return own


@pytest.fixture(params=["flock", "Windows", "no locks"])
def system_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of the systems, and a file system that has none."""
    if request.param == "Windows":
        request.getfixturevalue("windows")
    elif request.param == "no locks":
        monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("system_locks")
def test_the_second_is_told_who_holds_the_folder_and_the_dead_hold_nothing(tmp_path: Path) -> None:
    process = holding(tmp_path)
    try:
        with pytest.raises(LockedError, match=rf"`autoseg train` writes to it \(process {process.pid} on .*, since 20"):
            lock(tmp_path, "autoseg evaluate").__enter__()
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "lock").is_file()
    with lock(tmp_path, "autoseg evaluate"):
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_another_thread_waits_as_long_as_it_may(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with pytest.raises(LockedError), lock(tmp_path, "second", wait_s=0.1):
            order.append("never")
        with lock(tmp_path, "second", wait_s=30):
            order.append("second")

    with lock(tmp_path, "first"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_thread_may_take_what_it_holds_and_a_child_what_its_parent_holds(tmp_path: Path) -> None:
    with lock(tmp_path, "autoseg run"):
        with lock(tmp_path, "autoseg plan"):
            pass
        assert (tmp_path / "lock").is_file()
        child = subprocess.run([sys.executable, "-c", TAKE, str(tmp_path)], capture_output=True, text=True, check=True)
        assert child.stdout == "taken\n"
        assert (tmp_path / "lock").is_file()


def test_a_folder_that_stays_empty_is_not_left(tmp_path: Path) -> None:
    with lock(tmp_path / "a" / "b", "autoseg plan"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not list(tmp_path.iterdir())


def test_a_holder_on_another_host_counts_until_its_file_is_removed_where_the_system_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = locks.Holder(what="autoseg train", process=1, host="node7", host_digest="0", since="then")
    (tmp_path / "lock").write_text(json.dumps(vars(holder)))
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with pytest.raises(LockedError, match=r"on node7, since then\).*if that process is no more, remove .*lock"):
            lock(tmp_path, "autoseg evaluate").__enter__()
    with lock(tmp_path, "autoseg evaluate"):  # where it has, the system knows that nobody holds it
        assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()


def test_many_at_once_take_turns(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(20):
            with lock(tmp_path, "work", wait_s=60):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1


def test_on_windows_a_byte_beyond_the_text_is_locked_and_the_file_closed_before_it_is_removed(
    windows: Msvcrt, tmp_path: Path
) -> None:
    with lock(tmp_path, "autoseg train"):
        assert json.loads((tmp_path / "lock").read_text())["what"] == "autoseg train"
    assert windows.places == [locks.LOCKED_BYTE]
    assert not (tmp_path / "lock").exists()


@pytest.mark.usefixtures("windows")
def test_on_windows_a_lock_that_another_process_has_open_stays_and_names_nobody(tmp_path: Path) -> None:
    taken = lock(tmp_path, "autoseg train")
    taken.__enter__()
    with (tmp_path / "lock").open("rb"):
        taken.__exit__(None, None, None)
    assert (tmp_path / "lock").read_bytes() == b""
    with lock(tmp_path, "autoseg evaluate"):
        assert json.loads((tmp_path / "lock").read_text())["what"] == "autoseg evaluate"
