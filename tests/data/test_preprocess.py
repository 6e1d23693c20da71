"""Tests of autoseg.data.preprocess."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import made
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autoseg.data.preprocess
from autoseg.data.cache import cases_digest, read_case, read_cases
from autoseg.data.preprocess import is_cached, normalise, plan_digest, preprocess, read_cached_image, working_image
from autoseg.dataset.load import Case
from autoseg.errors import CasesFailedError, VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import read_image, write_array
from autoseg.labels import Label
from autoseg.plan import Intensity, Plan

PER_IMAGE = Intensity(kind="per-image", low=0.5, high=99.5)
LIVER_AND_SPLEEN = (Label(value=5, name="liver"), Label(value=2, name="spleen"))
FLIPPED = (-1, 0, 0, 0, -1, 0, 0, 0, 1)


def plan(**changes: object) -> Plan:
    return made.plan(**({"labels": LIVER_AND_SPLEEN} | changes))


def source(folder: Path, case_id: str = "a", shift_mm: float = 0.0, value: int = 5) -> Case:
    """Write a CT of 8³ voxels with a block of the lowest corner labelled `value`, its x and y axes reversed."""
    label = np.zeros((8, 8, 8), np.uint8)
    label[:4, :4, :4] = value
    image = np.where(label > 0, 150, -1000).astype(np.int16)
    grid, aside = (
        Grid(shape=(8, 8, 8), spacing_mm=(2.0, 1.0, 1.0), origin_mm=(mm, 0.0, 0.0), direction=FLIPPED)
        for mm in (0.0, shift_mm)
    )
    files = folder / f"{case_id}_0000.nii.gz", folder / f"{case_id}.nii.gz"
    write_array(files[0], image, grid)
    write_array(files[1], label, aside)
    return Case(id=case_id, images=files[:1], label=files[1], patient=case_id)


def test_ct_is_clipped_then_shifted_then_scaled() -> None:
    image = np.array([-1000, -100, 100, 150, 300, 3000], np.float32).reshape(1, 1, 1, 6)
    assert normalise(image, [made.CT]).ravel().tolist() == [-4, -4, 0, 1, 4, 4]  # ([-100, 300] - 100) / 50


def test_each_channel_has_its_own_normalisation() -> None:
    image = np.stack([np.full((2, 2, 2), 150.0), np.arange(8.0).reshape(2, 2, 2)]).astype(np.float32)
    found = normalise(image, [made.CT, Intensity(kind="per-image", low=0, high=100)])
    assert (found[0] == 1).all()
    np.testing.assert_allclose(found[1].ravel(), (np.arange(8) - 3.5) / np.sqrt(5.25), rtol=1e-5)


@given(st.floats(1e-3, 1e4), st.floats(-1e3, 1e3))
def test_per_image_normalisation_does_not_see_the_scanners_scale(scale: float, shift: float) -> None:
    image = np.random.default_rng(0).uniform(0, 100, (1, 6, 6, 6))
    changed = (image * scale + shift * scale).astype(np.float32)
    np.testing.assert_allclose(
        normalise(changed, [PER_IMAGE]), normalise(image.astype(np.float32), [PER_IMAGE]), atol=2e-3
    )


def test_one_bright_voxel_does_not_dim_the_others() -> None:
    image = np.random.default_rng(0).normal(size=(1, 10, 10, 10)).astype(np.float32)
    before = normalise(image, [PER_IMAGE])
    image[0, 0, 0, 0] = 1.7e6
    after = normalise(image, [PER_IMAGE])
    assert np.abs(after - before)[0].ravel()[1:].max() < 0.1


def test_an_image_of_one_value_becomes_zero_not_nan() -> None:
    assert (normalise(np.full((1, 3, 3, 3), 12.0, np.float32), [PER_IMAGE]) == 0).all()


def test_a_case_is_cached_in_lps_at_half_the_size(tmp_path: Path) -> None:
    assert preprocess([source(tmp_path)], plan(), tmp_path / "cache") == 1
    case = read_case(tmp_path / "cache", "a")
    assert case is not None
    assert case.stored.direction == pytest.approx(FLIPPED)
    assert case.grid.origin_mm == pytest.approx((-7.0, -7.0, 0.0))
    assert (case.working.shape, case.working.spacing_mm) == ((4, 4, 4), pytest.approx((4.0, 2.0, 2.0)))
    expected = np.zeros((4, 4, 4), np.uint8)
    expected[:2, 2:, 2:] = 1  # the block in the corner, x and y reversed; value 5 is class 1
    np.testing.assert_array_equal(case.label(), expected)
    np.testing.assert_array_equal(case.image()[0], np.where(expected, 1.0, -4.0))  # 150 HU, and air clipped at -100


def test_ct_is_clipped_before_it_is_averaged(tmp_path: Path) -> None:
    metal = np.array([3000, -100], np.int16).reshape(1, 1, 2)
    write_array(tmp_path / "a.nii.gz", metal, Grid(shape=(1, 1, 2), spacing_mm=(1.0, 1.0, 1.0)))
    found = working_image(read_image([tmp_path / "a.nii.gz"]), plan(downsampling=(1, 1, 2)))
    assert found.tolist() == [[[[0.0]]]]  # the mean of 300 and -100 is 100, the plan's mean


def test_images_on_a_wanted_spacing_cover_the_same_extent(tmp_path: Path) -> None:
    preprocess([source(tmp_path)], plan(spacing_mm=(4.0, 1.0, 0.5)), tmp_path / "cache")
    case = read_case(tmp_path / "cache", "a")
    assert case is not None
    assert case.working.shape == (4, 8, 16)
    assert case.working.extent_mm == pytest.approx(case.grid.extent_mm)


def test_what_is_cached_is_not_made_again(tmp_path: Path) -> None:
    case = source(tmp_path)
    assert not is_cached(case, plan(), tmp_path / "cache")
    assert [preprocess([case], plan(), tmp_path / "cache") for _ in range(2)] == [1, 0]
    assert is_cached(case, plan(), tmp_path / "cache")


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({"downsampling": (2, 2, 4)}, True),
        ({"spacing_mm": (2.0, 2.0, 2.0)}, True),
        ({"labels": LIVER_AND_SPLEEN[::-1]}, True),
        ({"intensity": (Intensity(kind="ct", low=-100, high=300, mean=101, std=50),)}, True),
        ({"batch_size": 5, "iterations": 9, "crop_size": (16, 16, 16), "seed": 3}, False),
    ],
)
def test_only_what_changes_the_arrays_makes_a_cache_stale(
    tmp_path: Path, changes: dict[str, object], stale: bool
) -> None:
    case = source(tmp_path)
    preprocess([case], plan(), tmp_path / "cache")
    assert is_cached(case, plan(**changes), tmp_path / "cache") is not stale


@pytest.mark.parametrize("which", ["a_0000.nii.gz", "a.nii.gz"])
def test_a_source_file_that_changed_makes_its_cache_stale(tmp_path: Path, which: str) -> None:
    case = source(tmp_path)
    preprocess([case], plan(), tmp_path / "cache")
    file = tmp_path / which
    times, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # the same size and time
    assert not is_cached(case, plan(), tmp_path / "cache")
    file.write_bytes(content)  # at another time
    assert is_cached(case, plan(), tmp_path / "cache")


def test_a_cache_of_before_digests_is_kept_as_long_as_sizes_and_times_are(tmp_path: Path) -> None:
    case, cache = source(tmp_path), tmp_path / "cache"
    preprocess([case], plan(), cache)
    record = json.loads((cache / "a.json").read_text())
    del record["arrays"]
    states = [(file.name, (file.stat().st_size, file.stat().st_mtime_ns)) for file in (*case.images, case.label)]
    record["source_key"] = hashlib.sha256(b"a" + repr(states).encode()).hexdigest()[:32]  # of the patient "a"
    (cache / "a.json").write_text(json.dumps(record))
    assert preprocess([case], plan(), cache) == 0
    os.utime(case.label, (1, 1))
    assert preprocess([case], plan(), cache) == 1


def test_a_cache_made_by_other_code_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, cache = source(tmp_path), tmp_path / "cache"
    preprocess([case], plan(), cache)
    before = read_cases(cache, ["a"], plan_digest(plan()))
    monkeypatch.setattr(autoseg.data.preprocess, "code_digest", lambda *_: "other code")
    assert preprocess([case], plan(), cache) == 1
    after = read_cases(cache, ["a"], plan_digest(plan()))
    assert before != after
    assert cases_digest(before) == cases_digest(after)  # so that its trainings go on


def test_an_image_that_has_changed_is_not_taken_for_the_cached_one(tmp_path: Path) -> None:
    case, cache = source(tmp_path), tmp_path / "cache"
    preprocess([case], plan(), cache)
    (cached,) = read_cases(cache, ["a"], plan_digest(plan()))
    assert read_cached_image(cached, case).array.shape[1:] == cached.stored.shape
    case.images[0].write_bytes(source(tmp_path, "b", value=1).images[0].read_bytes() + b" ")
    with pytest.raises(VolumeError, match=r"has changed since it was cached; run `autoseg preprocess` first"):
        read_cached_image(cached, case)
    assert read_cached_image(replace(cached, images=""), source(tmp_path)).grid == cached.grid  # an older record


def test_one_bad_case_is_reported_and_the_others_are_done(tmp_path: Path) -> None:
    good, moved, unknown = source(tmp_path), source(tmp_path, "b", shift_mm=9.0), source(tmp_path, "c", value=9)
    gone = Case(id="d", images=(tmp_path / "d.nii.gz",), label=tmp_path / "d.nii.gz", patient="d")
    with pytest.raises(CasesFailedError, match="3 of 4 cases failed") as caught:
        preprocess([moved, gone, unknown, good], plan(), tmp_path / "cache")
    assert set(caught.value.causes) == {"b", "c", "d"}
    assert "lie 9.0 mm apart" in caught.value.causes["b"]
    assert "label values [9]" in caught.value.causes["c"]
    assert "d.nii.gz" in caught.value.causes["d"]
    assert is_cached(good, plan(), tmp_path / "cache")


def test_an_image_with_more_channels_than_the_plan_is_refused(tmp_path: Path) -> None:
    case = source(tmp_path)
    volume = read_image([*case.images, *case.images])
    with pytest.raises(VolumeError, match=r"the image has 2 channels, the plan 1 \(CT\)"):
        working_image(volume, plan())
