"""Tests of autoseg.parts: which cases a part takes, and who may write beside whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoseg import parts
from autoseg.errors import LockedError
from autoseg.parts import Folds, Part, lock_part, read_part, share_of


def test_parts_share_all_cases_evenly_and_none_twice() -> None:
    names = [f"case {n}" for n in range(10)]
    shares = [Part(number, 3).share(reversed(names)) for number in (1, 2, 3)]
    assert [len(share) for share in shares] == [4, 3, 3]
    assert sorted(name for share in shares for name in share) == sorted(names)
    assert share_of(None, names) == frozenset(names)


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1.0/3"])
def test_what_is_no_part_of_any_number_is_none(text: str) -> None:
    assert read_part(text) is None
    assert read_part("2/3") == Part(2, 3)
    assert str(Part(2, 3)) == "2/3"


def tried(folder: Path, part: Part | Folds | None) -> str:
    """Return what another thread is told that wants to work on a folder; nothing where it may."""

    def work() -> str:
        try:
            with lock_part(folder, "autoseg score", part):
                return ""
        except LockedError as error:
            return str(error)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_parts_work_beside_each_other_but_neither_twice_nor_beside_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LOOK_S", 0.1)
    with lock_part(tmp_path, "autoseg score", Part(1, 2)):
        assert tried(tmp_path, Part(2, 2)) == ""
        assert "`autoseg score --part 1/2` writes to it" in tried(tmp_path, Part(1, 2))
        assert "`autoseg score --part 1/2` writes to it" in tried(tmp_path, None)
    with lock_part(tmp_path, "autoseg run", None), lock_part(tmp_path, "autoseg score", None):
        assert "`autoseg run` writes to it" in tried(tmp_path, Part(1, 2))
    assert tried(tmp_path, None) == ""
    assert list(tmp_path.iterdir()) == []


def test_folds_are_trained_beside_each_other_but_none_twice_nor_beside_parts_or_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LOOK_S", 0.1)
    with lock_part(tmp_path, "autoseg train", Folds((0, 2))):
        assert tried(tmp_path, Folds((1,))) == ""
        told = "`autoseg train --fold 0 --fold 2` writes to it"
        assert all(told in tried(tmp_path, other) for other in (Folds((1, 2)), Part(1, 2), None))
    with lock_part(tmp_path, "autoseg evaluate", Part(1, 2)):
        assert "`autoseg evaluate --part 1/2` writes to it" in tried(tmp_path, Folds((1,)))
    assert list(tmp_path.iterdir()) == []
