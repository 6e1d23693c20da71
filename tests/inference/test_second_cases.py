"""Tests of autoseg.inference.second_cases: what a second stage learns from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from two_stages import FIRST, FLOOR, GRID, OF_LIVER, OF_VEIN, ByIntensity, second

from autoseg.data.cache import CachedCase, read_case
from autoseg.data.preprocess import preprocess
from autoseg.dataset.load import Case
from autoseg.imaging.volumes import write_array
from autoseg.inference import second_cases as module
from autoseg.inference.second_cases import NOTE, SecondCases, second_cases
from autoseg.inference.second_maker import Maker
from autoseg.inference.stage import Stage
from autoseg.json_file import read_json
from autoseg.pool import Item, Track, untracked

UNKNOWN = 12
STAGE = Stage(networks=(ByIntensity(-2.0, 3.0),), plan=FIRST)


def write_case(folder: Path, name: str, seen: int, is_sparse: bool = False) -> Case:
    """Write a vein of 16 slices; beyond the first `seen` of them, the first stage takes it for liver.

    Where it `is_sparse`, the truth of every other slice is not known.
    """
    image, label = np.full(GRID.shape, FLOOR, np.int16), np.zeros(GRID.shape, np.uint8)
    image[:, 4:28, 4:28], label[:, 4:28, 4:28] = OF_LIVER, 4
    label[:, 12:20, 12:20] = 9
    if is_sparse:
        label[::2] = UNKNOWN
    image[:seen, 12:20, 12:20], image[seen:, 12:20, 12:20] = OF_VEIN, 220
    for what, array in (("image", image), ("label", label)):
        write_array(folder / f"{name}.{what}.nii.gz", array, GRID)
    return Case(id=name, images=(folder / f"{name}.image.nii.gz",), label=folder / f"{name}.label.nii.gz", patient=name)


def made_of(
    folder: Path,
    seen: dict[str, int],
    weights: str = "weights",
    *,
    is_begun: bool = False,
    validating: int = 1,
    track: Track = untracked,
    sparse: Collection[str] = (),
    stop: Callable[[], bool] = lambda: False,
) -> SecondCases:
    """Return the second stage's cases, of which the last ones validate; it must not be stopped.

    Raises:
        InterruptedError: If it is.
    """
    sources = {name: write_case(folder, name, depth, name in sparse) for name, depth in seen.items()}
    first = FIRST.model_copy(update={"ignored": UNKNOWN}) if sparse else FIRST
    preprocess(list(sources.values()), first, folder / "cache")
    cases = [case for name in seen if (case := read_case(folder / "cache", name)) is not None]
    training = len(cases) - validating
    parts = (cases[:training], cases[training:], lambda names: {name: sources[name] for name in names})
    plan = second().model_copy(update={"ignored": first.ignored})
    found = second_cases(
        replace(STAGE, plan=first), weights, plan, *parts, folder / "second", track, is_begun=is_begun, stop=stop
    )
    if found is None:
        raise InterruptedError
    return found


def errors_in(folder: Path) -> dict[str, object]:
    return read_json(folder / "second" / NOTE, dict)


def dice_of(case: CachedCase) -> float:
    seen, truth = case.image()[1] > 0.5, case.label() == 1
    return float(2 * (seen & truth).sum() / (seen.sum() + truth.sum()))


def test_where_the_first_stage_is_right_on_unseen_cases_nothing_is_displaced(tmp_path: Path) -> None:
    cases = made_of(tmp_path, {"a": 16, "b": 16})
    assert errors_in(tmp_path)["displacements"] == [0.0]
    assert cases.margin_mm == 4.0  # the plan's
    (a,) = cases.training
    assert a.working.shape == a.grid.shape == (16, 20, 20)  # 8 voxels, one of the coarse grid and the margin around
    assert (a.grid.origin_mm[0], set(np.unique(a.label()))) == (6 * 2.0, {0, 1})


@pytest.mark.parametrize("sparse", ["a", "b", "ab"])
def test_voxels_whose_truth_is_not_known_are_no_errors_of_the_first_stage(tmp_path: Path, sparse: str) -> None:
    made_of(tmp_path, {"a": 16, "b": 16}, sparse=sparse)
    assert errors_in(tmp_path)["displacements"] == [0.0]


def test_training_cases_get_the_errors_of_validation_cases(tmp_path: Path) -> None:
    cases = made_of(tmp_path, {"a": 16, "b": 8})  # in b half of the vein is not seen
    (voxels,) = errors_in(tmp_path)["displacements"]  # type: ignore[misc]
    assert voxels > 0
    assert cases.margin_mm == pytest.approx(8.0)  # 8 voxels of 2 mm are not seen, 4 of them in a coarse one further
    (a,), (b,) = cases.training, cases.validation
    assert dice_of(a) < 0.97  # of 1.0
    assert b.grid.shape[0] == 16
    (tmp_path / "perfect").mkdir()
    assert dice_of(made_of(tmp_path / "perfect", {"a": 16, "b": 16}).training[0]) > dice_of(a)


def test_cases_are_made_once_and_again_for_other_weights(tmp_path: Path) -> None:
    depths = {"a": 16, "b": 8}
    made_of(tmp_path, depths)
    written = (tmp_path / "second" / "a.json").stat().st_mtime_ns
    made_of(tmp_path, depths)
    assert (tmp_path / "second" / "a.json").stat().st_mtime_ns == written
    (tmp_path / "second" / "b.image.npy").write_bytes(b"damaged")
    assert made_of(tmp_path, depths).validation[0].is_intact()
    again = (tmp_path / "second" / "a.json").stat().st_mtime_ns
    assert again == written
    made_of(tmp_path, depths, "other weights")
    assert (tmp_path / "second" / "a.json").stat().st_mtime_ns > again


def test_what_is_made_and_measured_before_an_end_is_not_made_again(tmp_path: Path) -> None:
    depths, asked = {"a": 16, "b": 8, "c": 8}, iter([False, False, False, False, True])
    with pytest.raises(InterruptedError):
        made_of(tmp_path, depths, stop=lambda: next(asked))  # three to measure on, one is made
    written = (tmp_path / "second" / "a.json").stat().st_mtime_ns
    assert not (tmp_path / "second" / "b.json").exists()
    shown: list[str] = []

    def track(items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        shown.append(what)
        return items

    cases = made_of(tmp_path, depths, track=track)
    assert shown == ["Making the second stage's cases"]
    assert (tmp_path / "second" / "a.json").stat().st_mtime_ns == written
    assert [case.id for case in (*cases.training, *cases.validation)] == ["a", "b", "c"]
    (tmp_path / "at-once").mkdir()
    made_of(tmp_path / "at-once", depths)
    for name in "abc":
        once, twice = (read_case(folder / "second", name) for folder in (tmp_path / "at-once", tmp_path))
        assert once is not None
        assert twice is not None
        assert once.arrays == twice.arrays


def test_a_case_of_which_nothing_is_found_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cases = made_of(tmp_path, {"a": 0, "b": 16, "c": 16})
    assert [case.id for case in cases.training] == ["b"]
    assert "in 1 case the first stage finds nothing of vein" in caplog.text


def test_each_pass_over_the_cases_is_shown_and_none_where_they_are_there(tmp_path: Path) -> None:
    shown: list[tuple[str, int]] = []

    def track(items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        shown.append((what, total))
        return items

    depths = {"a": 16, "b": 16, "c": 8}
    made_of(tmp_path, depths, track=track)
    assert shown == [
        ("Measuring the first stage's errors", 3),
        ("Making the second stage's cases", 3),
    ]
    shown.clear()
    made_of(tmp_path, depths, track=track)
    assert not shown


def test_without_a_validation_case_nothing_is_displaced_and_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cases = made_of(tmp_path, {"a": 16, "b": 8}, validating=0)
    assert len(cases.training) == 2
    assert errors_in(tmp_path)["displacements"] == [0.0]
    assert "no case validates" in caplog.text
    assert "with validation cases" in caplog.text


def test_a_training_goes_on_with_the_cases_that_it_began_with_whatever_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    depths = {"a": 16, "b": 8}
    before = made_of(tmp_path, depths)
    monkeypatch.setattr(module, "code_digest", lambda *_: "another version")
    monkeypatch.setattr(Maker, "errors", lambda *_: pytest.fail("made again"))
    assert made_of(tmp_path, depths, is_begun=True) == before
    with pytest.raises(pytest.fail.Exception, match="made again"):
        made_of(tmp_path, depths)
