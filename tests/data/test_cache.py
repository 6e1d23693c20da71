"""Tests of autoseg.data.cache."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import made
import numpy as np
import pytest

from autoseg.data import cache
from autoseg.data.cache import (
    ARRAYS,
    ORGAN_VOXELS,
    CachedCase,
    cache_bytes,
    cases_digest,
    read_case,
    read_cases,
    write_case,
)
from autoseg.errors import RunError
from autoseg.imaging.grid import Grid


def test_a_case_comes_back_as_it_was_written(tmp_path: Path) -> None:
    image, label = made.two_blocks((8, 9, 10))
    grid = Grid(shape=(16, 18, 20), spacing_mm=(0.1, 0.7, 1 / 3), origin_mm=(-1.5, 2.0, 1e-3))
    working = Grid(shape=(8, 9, 10), spacing_mm=(0.2, 1.4, 2 / 3))
    written = CachedCase(
        id="a.b c",
        folder=tmp_path,
        patient="p",
        source_digest="abc",
        plan_digest="def",
        grid=grid,
        stored=Grid(shape=(20, 18, 16), spacing_mm=(1.0, 1.0, 1.0), direction=(0, 0, 1, 0, 1, 0, 1, 0, 0)),
        working=working,
    )
    read = read_case(tmp_path, "a.b c")
    assert read is None
    written = write_case(written, image, label, seed=0)
    read = read_case(tmp_path, "a.b c")
    assert read == written
    np.testing.assert_array_equal(read.image(), image.astype(np.float16))
    np.testing.assert_array_equal(read.label(), label)
    assert isinstance(read.image(), np.memmap)


def test_organ_voxels_of_a_whole_slide_are_where_they_are(tmp_path: Path) -> None:
    label = np.zeros((1, 1, 40_000), np.uint8)
    label[0, 0, 39_990:] = 1
    grid = Grid(shape=label.shape, spacing_mm=(1.0, 1.0, 1.0))
    about = {"id": "slide", "folder": tmp_path, "patient": "slide", "source_digest": "", "plan_digest": ""}
    case = CachedCase(**about, grid=grid, stored=grid, working=grid)
    write_case(case, np.zeros((1, *label.shape), np.float32), label, seed=0)
    assert case.organs()[:, 3].tolist() == list(range(39_990, 40_000))


def test_a_cache_can_be_moved(tmp_path: Path) -> None:
    made.random_case(tmp_path / "old", (4, 4, 4))
    (tmp_path / "old").rename(tmp_path / "new")
    (case,) = read_cases(tmp_path / "new", ("random",), "made")
    assert case.label().shape == (4, 4, 4)


def test_organ_voxels_lie_on_their_organs_and_each_at_most_once(tmp_path: Path) -> None:
    case = made.random_case(tmp_path, (6, 7, 8))
    organs = np.array(case.organs())
    label = case.label()
    assert (label[tuple(organs[:, 1:].T)] == organs[:, 0]).all()
    assert len(np.unique(organs, axis=0)) == len(organs) == np.count_nonzero(label)
    assert (np.diff(organs[:, 0]) >= 0).all()


def test_of_a_large_organ_a_thousand_voxels_are_kept_and_of_a_small_one_all(tmp_path: Path) -> None:
    label = np.ones((12, 12, 12), np.uint8)
    label[0, 0, :3] = 2
    organs = made.cached_case(tmp_path, "a", np.zeros((1, 12, 12, 12)), label).organs()
    assert [int((organs[:, 0] == value).sum()) for value in (1, 2)] == [ORGAN_VOXELS, 3]


def test_a_case_without_organs_has_no_organ_voxels(tmp_path: Path) -> None:
    case = made.cached_case(tmp_path, "a", np.zeros((1, 2, 2, 2)), np.zeros((2, 2, 2), np.uint8))
    assert case.organs().shape == (0, 4)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"id": "random"}'])
def test_a_record_that_is_missing_or_cut_short_means_not_cached(tmp_path: Path, content: str | None) -> None:
    made.random_case(tmp_path, (4, 4, 4))
    record = tmp_path / "random.json"
    record.unlink() if content is None else record.write_text(content)
    assert read_case(tmp_path, "random") is None
    with pytest.raises(RunError, match=r"not cached for this plan: 1 case \(random …\)"):
        read_cases(tmp_path, ("random",), "made")


def test_a_case_whose_writing_is_cut_off_is_not_cached_even_if_it_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.random_case(tmp_path, (4, 4, 4))

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(cache.np, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        made.random_case(tmp_path, (5, 5, 5))
    assert read_case(tmp_path, "random") is None
    assert not [file.name for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_the_record_is_written_after_all_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[set[str]] = []
    real = cache.write_text

    def spy(file: Path, text: str) -> None:
        there.append({f.name for f in tmp_path.iterdir()})
        real(file, text)

    monkeypatch.setattr(cache, "write_text", spy)
    made.random_case(tmp_path, (4, 4, 4))
    assert there == [{"random.image.npy", "random.label.npy", "random.organs.npy"}]


@pytest.mark.parametrize("content", [None, b"", b"no array"])
def test_a_broken_array_is_named_with_the_way_out(tmp_path: Path, content: bytes | None) -> None:
    case = made.random_case(tmp_path, (4, 4, 4))
    file = tmp_path / "random.image.npy"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(RunError, match=r"random\.image\.npy: cannot be read .*run `autoseg preprocess` again"):
        case.image()


def test_an_array_cut_short_is_named(tmp_path: Path) -> None:
    case = made.random_case(tmp_path, (4, 4, 4))
    file = tmp_path / "random.image.npy"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(RunError, match=r"random\.image\.npy: cannot be read"):
        case.image()


def test_a_record_is_plain_json(tmp_path: Path) -> None:
    made.random_case(tmp_path, (4, 4, 4))
    record = json.loads((tmp_path / "random.json").read_text())
    assert record["working"]["shape"] == [4, 4, 4]
    assert "folder" not in record


def test_the_size_of_a_cache_is_known_before_it_is_written() -> None:
    plan = made.plan(spacing_mm=(2.0, 2.0, 2.0))
    grid = Grid(shape=(20, 20, 20), spacing_mm=(1.0, 1.0, 1.0))  # 1000 voxels on the working grid
    voxels, organs = 1000 * (2 * len(plan.channels) + 1), len(plan.labels) * 8 * 1000
    assert cache_bytes(plan, [grid, grid]) == 2 * (voxels + organs)


def test_a_case_made_anew_with_equal_bytes_is_the_same_to_a_training(tmp_path: Path) -> None:
    image, label = made.two_blocks((4, 4, 4))
    one = made.cached_case(tmp_path, "a", image, label)
    again = write_case(replace(one, source_digest="by other code"), image, label, seed=0)
    assert cases_digest([again]) == cases_digest([one])
    assert again.record_digest != one.record_digest
    others = [
        write_case(one, image + 1, label, seed=0),
        write_case(one, image, 1 - label, seed=0),
        replace(one, patient="another"),
        replace(one, hidden=(1,)),
        replace(one, plan_digest="another grid"),
    ]
    assert len({cases_digest([one]), *(cases_digest([other]) for other in others)}) == 6
    assert cases_digest([one, again]) != cases_digest([one])


def test_a_record_of_before_digests_is_compared_as_its_checkpoint_is(tmp_path: Path) -> None:
    written = made.random_case(tmp_path, (4, 4, 4))
    file = tmp_path / f"{written.id}.json"
    record = json.loads(file.read_text())
    del record["arrays"]  # as it was written before there were digests
    file.write_text(json.dumps(record))
    case = read_case(tmp_path, written.id)
    assert case is not None
    line = f"{case.id} {case.patient} {record['source_key']} {record['plan_key']}"
    assert cases_digest([case, case]) == hashlib.sha256(f"{line}\n{line}".encode()).hexdigest()[:32]


def test_on_a_file_system_that_maps_no_files_an_array_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case,) = made.easy_cases(tmp_path, 1)
    expected = np.array(case.image())

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr("mmap.mmap", refuse)
    assert not isinstance(case.image(), np.memmap)
    assert np.array_equal(case.image(), expected)


@pytest.mark.parametrize("what", ARRAYS)
def test_an_array_that_changed_with_its_size_and_time_kept_is_noticed_and_named(tmp_path: Path, what: str) -> None:
    made.random_case(tmp_path, (4, 5, 6), "a")
    case = read_case(tmp_path, "a")
    assert case is not None
    assert case.is_intact()
    file = tmp_path / f"a.{what}.npy"
    status, data = file.stat(), bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not case.is_intact()
    with pytest.raises(RunError, match=r"1 case changed since written \(a …\), .*run `autoseg preprocess` again"):
        read_cases(tmp_path, ["a"], case.plan_digest)


def test_records_of_many_cases_hold_once_what_they_have_in_common(tmp_path: Path) -> None:
    for name in ("a", "b"):
        made.random_case(tmp_path, (4, 4, 4), name)
    one, other = read_cases(tmp_path, ("a", "b"), "made")
    assert one.grid.direction is other.grid.direction
    assert one.plan_digest is other.plan_digest
    assert (one.grid is one.stored) == (one.grid == one.stored)
