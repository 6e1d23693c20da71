"""Predicting scans with a model file: grids, folders that are gone on with, what is written beside the masks."""

from __future__ import annotations

import errno
import itertools
import json
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import made
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import autoseg
from autoseg.errors import CasesFailedError, LockedError, PlanError, VolumeError
from autoseg.imaging.grid import Grid, corner_distance_mm, to_lps
from autoseg.imaging.stored import stored_digest
from autoseg.imaging.volumes import read_grid, read_image, read_label, write_array
from autoseg.inference import statistics
from autoseg.inference.inputs import Input, folder_of, list_inputs
from autoseg.inference.model import Model, OrganPrediction, Prediction
from autoseg.inference.opening import open_model
from autoseg.inference.outputs.legend import write_legends
from autoseg.inference.outputs.write import Outputs, write_outputs
from autoseg.inference.predict import predict
from autoseg.inference.stage import InferenceOptions
from autoseg.inference.statistics import NAME, Origin, Statistics, require_table
from autoseg.labels import Label
from autoseg.network.build import build
from autoseg.network.weights import save_ensemble, save_model

PLAIN = Outputs()
PLAN = made.plan(tile_depth=None, spacing_mm=(2.0, 2.0, 2.0))


@pytest.fixture
def model(tmp_path: Path) -> Model:
    torch.manual_seed(0)
    save_model(tmp_path / "model.autoseg", PLAN, build(PLAN).state_dict(), {})
    return open_model(tmp_path / "model.autoseg", "cpu")


def write_scan(file: Path, grid: Grid, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    smooth = np.kron(rng.normal(0, 150, [-(-n // 3) for n in grid.shape]), np.ones((3, 3, 3)))
    z, y, x = grid.shape
    write_array(file, smooth[:z, :y, :x].astype(np.int16), grid)


def done(model: Model, source: Path, out: Path, cleaned: bool = True, outputs: Outputs = PLAIN) -> Statistics:
    folder = folder_of(out)
    statistics = Statistics(folder / NAME if folder else None)
    predict(model, list_inputs(source, out, 1), statistics, InferenceOptions(cleaned=cleaned), outputs)
    return statistics


DIRECTIONS = [  # all right-angled ones, and an oblique one
    tuple(np.array([[s[i] * (p[i] == j) for j in range(3)] for i in range(3)], float).ravel().tolist())
    for p in itertools.permutations(range(3))
    for s in itertools.product((1, -1), repeat=3)
]
OBLIQUE = (0.9, -0.43589, 0.0, 0.43589, 0.9, 0.0, 0.0, 0.0, 1.0)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 30), st.integers(1, 20), st.integers(1, 20)),
    st.tuples(*[st.floats(0.4, 8.0)] * 3),
    st.sampled_from([*DIRECTIONS, OBLIQUE]),
    st.sampled_from([".nii.gz", ".nrrd", ".mha"]),
)
def test_a_mask_has_exactly_its_images_grid(
    model: Model,
    tmp_path: Path,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    direction: tuple[float, ...],
    suffix: str,
) -> None:
    grid = Grid(shape=shape, spacing_mm=spacing, origin_mm=(-13.7, 5.25, 99.0), direction=direction)
    scan, mask = tmp_path / f"scan{suffix}", tmp_path / f"mask{suffix}"
    write_scan(scan, grid)
    done(model, scan, mask)
    wanted, found = read_grid(scan), read_grid(mask)
    assert found.shape == wanted.shape
    for part in ("spacing_mm", "origin_mm", "direction"):
        np.testing.assert_allclose(getattr(found, part), getattr(wanted, part), atol=1e-5)


def test_a_volume_of_a_thousand_slices_and_one_of_one_keep_their_grids(model: Model, tmp_path: Path) -> None:
    for depth in (1, 1000):
        scan = tmp_path / f"{depth}.nii.gz"
        write_scan(scan, Grid(shape=(depth, 9, 7), spacing_mm=(0.5, 2.0, 2.0)))
        done(model, scan, tmp_path / "mask.nii.gz")
        assert read_label(tmp_path / "mask.nii.gz").array.shape == (depth, 9, 7)


def test_how_a_scan_is_stored_does_not_change_what_is_found_where(model: Model, tmp_path: Path) -> None:
    base = Grid(shape=(16, 20, 24), spacing_mm=(2.5, 2.0, 1.5))
    write_scan(tmp_path / "base.nii.gz", base)
    expected = model.predict(autoseg.read_image(tmp_path / "base.nii.gz")).mask.array
    assert len(np.unique(expected)) > 1
    values = autoseg.read_image(tmp_path / "base.nii.gz").array[0]
    for number, direction in enumerate(DIRECTIONS):
        sizes = np.abs(np.reshape(direction, (3, 3))).T @ np.array(base.shape[::-1])
        steps = np.abs(np.reshape(direction, (3, 3))).T @ np.array(base.spacing_mm[::-1])
        x, y, z = (int(n) for n in sizes)
        fine, row, col = (float(v) for v in steps[::-1])
        stored = Grid(shape=(z, y, x), spacing_mm=(fine, row, col), direction=direction)
        write_array(tmp_path / f"{number}.nii.gz", to_lps(stored)[0].undo(values), stored)
        found = model.predict(autoseg.read_image(tmp_path / f"{number}.nii.gz")).mask.array
        np.testing.assert_array_equal(found, expected)


def test_a_folder_is_gone_on_with_and_a_changed_image_is_predicted_again(model: Model, tmp_path: Path) -> None:
    grid, out = Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)), tmp_path / "out"
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", grid)
    done(model, tmp_path / "in", out)
    at, whole = (out / "a.nii.gz").stat().st_mtime_ns, (out / "b.nii.gz").read_bytes()
    write_scan(tmp_path / "in" / "b.nii.gz", grid, seed=1)
    os.utime(tmp_path / "in" / "b.nii.gz", ns=(1, 1))
    write_scan(tmp_path / "in" / "c.nii.gz", grid, seed=2)
    done(model, tmp_path / "in", out)
    assert (out / "a.nii.gz").stat().st_mtime_ns == at
    assert (out / "b.nii.gz").read_bytes() != whole
    assert read_label(out / "b.nii.gz").array.shape == read_label(out / "c.nii.gz").array.shape == (8, 8, 8)
    table = pd.read_csv(out / "predictions.csv")
    assert list(table["case"]) == ["a", "a", "b", "b", "c", "c"]
    assert predict(model, list_inputs(tmp_path / "in", out, 1), Statistics(out / NAME)) == 0  # nothing is left to do
    done(model, tmp_path / "in", out, cleaned=False)  # another way to predict is another mask
    assert (out / "a.nii.gz").stat().st_mtime_ns != at


def test_a_mask_that_is_cut_short_is_predicted_again(model: Model, tmp_path: Path) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)))
    outputs = Outputs(per_organ=True)
    done(model, tmp_path / "in", tmp_path / "out", outputs=outputs)
    organ = next((tmp_path / "out" / "a").glob("*.nii.gz"))
    for file in (tmp_path / "out" / "a.nii.gz", organ):
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        done(model, tmp_path / "in", tmp_path / "out", outputs=outputs)
        assert file.read_bytes() == whole


def test_the_mask_of_another_image_of_the_same_name_stays_unless_it_is_to_be_replaced(
    model: Model, tmp_path: Path
) -> None:
    for number in (0, 1):
        scan = tmp_path / str(number) / "imaging.nii.gz"
        write_scan(scan, Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)), seed=number)
    out = tmp_path / "out"
    done(model, tmp_path / "0", out)
    first, table = (out / "imaging.nii.gz").read_bytes(), (out / NAME).read_bytes()
    with pytest.raises(CasesFailedError, match=r"imaging\.nii\.gz: is the mask of another image.*--overwrite"):
        done(model, tmp_path / "1", out)
    assert [(out / "imaging.nii.gz").read_bytes(), (out / NAME).read_bytes()] == [first, table]
    assert predict(model, list_inputs(tmp_path / "1", out, 1), Statistics(out / NAME, fresh=True)) == 1
    assert (out / NAME).read_bytes() != table


def test_several_that_predict_into_one_folder_all_have_their_rows(model: Model, tmp_path: Path) -> None:
    for name in "abcd":
        write_scan(tmp_path / name / f"{name}.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)))
    tables = {name: Statistics(tmp_path / "out" / NAME) for name in "abcd"}  # all read it while it is empty
    for name, table in tables.items():
        predict(model, list_inputs(tmp_path / name, tmp_path / "out", 1), table)
    assert sorted(set(pd.read_csv(tmp_path / "out" / NAME)["case"])) == ["a", "b", "c", "d"]
    assert not [file.name for file in (tmp_path / "out").iterdir() if "lock" in file.name]


def test_files_are_written_while_others_write_those_of_another_image(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for name in "ab":
        write_scan(tmp_path / name / f"{name}.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)))
    begun, b_is_done = threading.Event(), threading.Event()

    def write(job: Input, *rest: Any) -> None:
        if job.name == "a":
            begun.set()
            assert b_is_done.wait(60)
        write_outputs(job, *rest)

    monkeypatch.setattr("autoseg.inference.predict.write_outputs", write)
    with ThreadPoolExecutor(1) as other:
        first = other.submit(done, model, tmp_path / "a", out)
        assert begun.wait(60)
        done(model, tmp_path / "b", out)
        b_is_done.set()
        first.result()
    assert {file.name for file in out.iterdir()} == {"a.nii.gz", "b.nii.gz", NAME}
    assert list(pd.read_csv(out / NAME)["case"].unique()) == ["a", "b"]


def test_two_never_write_the_files_of_one_image_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "WAIT_S", 0.1)
    table = Statistics(tmp_path / NAME)
    with table.alone("predictions"), ThreadPoolExecutor(1) as other:

        def write(case: str) -> None:
            with Statistics(tmp_path / NAME).alone(case):
                add(Statistics(tmp_path / NAME), case)

        other.submit(write, "b").result()
        with pytest.raises(LockedError, match="autoseg predict"):
            other.submit(write, "predictions").result()


def test_the_lock_of_an_image_that_a_killed_process_left_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    dead = tmp_path / statistics.IMAGE_LOCK.format("0123")
    dead.write_text("")
    table = Statistics(tmp_path / NAME)
    assert not dead.exists()
    with table.alone("a"), ThreadPoolExecutor(1) as other:
        other.submit(Statistics, tmp_path / NAME).result()
        assert len(list(tmp_path.glob("*.lock"))) == 1


def test_where_writing_fails_halfway_no_rows_of_the_mask_before_stay(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)))
    done(model, tmp_path / "in", tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out" / NAME)) == 2

    def write(job: Input, *_: object) -> None:
        job.out.write_bytes(b"of another model")
        raise OSError(errno.ENOSPC, "No space left on device", str(job.out))

    monkeypatch.setattr("autoseg.inference.predict.write_outputs", write)
    with pytest.raises(CasesFailedError, match="No space left"):
        done(model, tmp_path / "in", tmp_path / "out", cleaned=False)
    assert len(pd.read_csv(tmp_path / "out" / NAME)) == 0


def test_of_an_image_without_rows_no_digest_is_made_before_it_is_read(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write_scan(tmp_path / "in" / f"{name}.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)))
    order: list[str] = []

    def read(files: tuple[Path, ...], series: str | None = None) -> object:
        order.append("read")
        return read_image(files, series)

    def digest_of(files: Sequence[Path]) -> str:
        order.append("digest")
        return stored_digest(files)

    monkeypatch.setattr("autoseg.inference.predict.read_image", read)
    monkeypatch.setattr("autoseg.inference.predict.stored_digest", digest_of)
    done(model, tmp_path / "in", tmp_path / "out")
    assert order[0] == "read"
    assert order.count("digest") == 3
    order.clear()
    done(model, tmp_path / "in", tmp_path / "out")
    assert set(order) == {"digest"}


def test_an_organ_that_is_not_found_is_null_in_json_also_after_it_was_read_again(tmp_path: Path) -> None:
    add(Statistics(tmp_path / NAME), "a")
    Statistics(tmp_path / NAME).write(tmp_path / "a.json")
    rows = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert [row["expected_dice"] for row in rows] == [None, None]


def test_the_table_has_the_volumes_of_the_masks(model: Model, tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nii.gz", Grid(shape=(9, 10, 11), spacing_mm=(3, 2, 1)))
    found = Statistics(None)
    predict(model, list_inputs(tmp_path / "a.nii.gz", tmp_path / "m.nii.gz", 1), found)
    found.write(tmp_path / "s.json")
    require_table(tmp_path / "s.json")
    mask = read_label(tmp_path / "m.nii.gz").array
    rows = json.loads((tmp_path / "s.json").read_text())
    assert [row["organ"] for row in rows] == ["liver", "spleen"]
    assert [row["volume_ml"] for row in rows] == [
        pytest.approx((mask == label).sum() * 0.006, abs=1e-3) for label in (1, 2)
    ]


def test_one_bad_scan_does_not_stop_the_others(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "c"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)))
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"no image")
    with pytest.raises(CasesFailedError, match="1 of 3 cases failed") as caught:
        done(model, tmp_path / "in", tmp_path / "out")
    assert list(caught.value.causes) == ["b"]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"a.nii.gz", "c.nii.gz", "predictions.csv"}


def test_while_the_network_works_the_next_image_is_read_and_the_mask_before_is_written(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c", "d"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)))
    segment, under_way = Model.segment, {what: threading.Event() for what in ("network of b", "read c", "write a")}
    order: list[str] = []

    def read(files: tuple[Path, ...], series: str | None = None) -> object:
        name = files[0].name[0]
        order.append(f"read {name}")
        if name == "c":
            under_way["read c"].set()
            assert under_way["network of b"].wait(60)
        return read_image(files, series)

    def infer(model: Model, *rest: Any) -> Prediction[Any]:
        order.append("network")
        if order.count("network") == 2:
            under_way["network of b"].set()
            assert under_way["read c"].wait(60)
            assert under_way["write a"].wait(60)
            assert "read d" not in order  # one ahead, no more: memory is bounded
        return segment(model, *rest)

    def write(job: Input, *rest: Any) -> None:
        if job.name == "a":
            under_way["write a"].set()
            assert under_way["network of b"].wait(60)
        write_outputs(job, *rest)

    monkeypatch.setattr("autoseg.inference.predict.read_image", read)
    monkeypatch.setattr("autoseg.inference.predict.write_outputs", write)
    monkeypatch.setattr(Model, "segment", infer)
    done(model, tmp_path / "in", tmp_path / "out")
    assert [line for line in order if line != "network"] == ["read a", "read b", "read c", "read d"]
    assert list(pd.read_csv(tmp_path / "out" / NAME)["case"].unique()) == ["a", "b", "c", "d"]


def test_other_outputs_are_made_although_the_mask_is_there(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_scan(tmp_path / "in" / "NA.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)))
    done(model, tmp_path / "in", tmp_path / "out")
    done(model, tmp_path / "in", tmp_path / "out", outputs=Outputs(preview=True))
    assert (tmp_path / "out" / "NA.png").is_file()
    assert len(pd.read_csv(tmp_path / "out" / NAME)) == 2  # a case called NA is no missing value


def test_a_full_disk_fails_one_case_and_keeps_the_others(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)))

    def write(job: Input, *rest: object) -> None:
        if job.name == "b":
            raise OSError(errno.ENOSPC, "No space left on device")  # as a write does: it knows no name
        write_outputs(job, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("autoseg.inference.predict.write_outputs", write)
    with pytest.raises(CasesFailedError, match=r"b.nii.gz: No space left on device; check path and disk space"):
        done(model, tmp_path / "in", tmp_path / "out")
    assert sorted(pd.read_csv(tmp_path / "out" / NAME)["case"].unique()) == ["a", "c"]


def test_mirroring_is_refused_where_training_did_not_mirror(model: Model, tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nii.gz", Grid(shape=(8, 8, 8), spacing_mm=(2, 2, 2)))
    with pytest.raises(PlanError, match="the training mirrored no crops"):
        model.predict(autoseg.read_image(tmp_path / "a.nii.gz"), InferenceOptions(mirrored=True))


def test_a_foreign_table_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("my,own\n1,2\n")
    with pytest.raises(VolumeError, match="no table of predictions"):
        Statistics(tmp_path / "predictions.csv")
    (tmp_path / "notes.csv").write_text("precious notes\n")
    with pytest.raises(VolumeError, match="no table of predictions"):
        require_table(tmp_path / "notes.csv")
    with pytest.raises(VolumeError, match=r"ends in .csv or .json"):
        require_table(tmp_path / "notes.txt")


def test_what_is_written_beside_the_mask(model: Model, tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nii.gz", Grid(shape=(16, 16, 16), spacing_mm=(2, 2, 2)))
    done(model, tmp_path / "a.nii.gz", tmp_path / "out" / "m.seg.nrrd", outputs=Outputs(per_organ=True, preview=True))
    mask = read_label(tmp_path / "out" / "m.seg.nrrd").array
    for name, value in (("liver", 1), ("spleen", 2)):
        organ = read_label(tmp_path / "out" / "m.seg" / f"{name}.nrrd").array
        np.testing.assert_array_equal(organ, mask == value)
    assert (tmp_path / "out" / "m.seg.png").read_bytes().startswith(b"\x89PNG")
    image = sitk.ReadImage(str(tmp_path / "out" / "m.seg.nrrd"))
    assert image.GetMetaData("Segment1_Name") == "spleen"
    assert image.GetMetaData("Segment1_LabelValue") == "2"


def test_probabilities_are_written_in_percent_on_the_images_grid(model: Model, tmp_path: Path) -> None:
    grid = Grid(shape=(9, 14, 11), spacing_mm=(3.0, 1.0, 1.5), origin_mm=(5.0, -7.0, 2.0), direction=DIRECTIONS[11])
    write_scan(tmp_path / "in" / "a.nii.gz", grid)
    jobs = list_inputs(tmp_path / "in", tmp_path / "out", 1)
    predict(model, jobs, Statistics(None), InferenceOptions(probabilities=True, cleaned=False))
    mask = read_label(tmp_path / "out" / "a.nii.gz")
    percents = []
    for organ in model.plan.labels:
        percent = read_label(tmp_path / "out" / "a" / f"{organ.name}_percent.nii.gz")
        assert corner_distance_mm(percent.stored, grid) < 1e-3
        percents.append(percent.array)
    background = 100 - sum(percents)
    assert background.min() >= -1  # whole percent: rounding
    assert max(p.max() for p in percents) <= 100
    margin = 2  # percent that rounding can turn
    for organ, percent in zip(model.plan.labels, percents, strict=True):
        others = np.max([p for p in (*percents, background) if p is not percent], axis=0)
        np.testing.assert_array_equal(mask.array[percent > others + margin], organ.value)
    made = model.predict(read_image([tmp_path / "in" / "a.nii.gz"]), InferenceOptions(probabilities=True))
    assert made.probabilities is not None
    np.testing.assert_allclose(made.probabilities.astype(np.float32).sum(axis=0), 1, atol=5e-3)


def test_names_and_colours_are_written_as_the_viewers_read_them(tmp_path: Path) -> None:
    write_legends(tmp_path, (Label(value=3, name="left kidney"),))
    assert (tmp_path / "labels_itksnap.txt").read_text().splitlines()[1].split() == [
        "3", "213", "94", "0", "1", "1", "1", '"left', 'kidney"',
    ]  # fmt: skip
    assert "3 left_kidney 213 94 0 255" in (tmp_path / "labels_slicer.ctbl").read_text()
    write_legends(tmp_path, (Label(value=3, name="left kidney"),), mask="scan")
    for name in ("labels_itksnap.txt", "labels_slicer.ctbl"):
        assert (tmp_path / f"scan_{name}").read_text() == (tmp_path / name).read_text()
    written = [file.stat().st_ino for file in sorted(tmp_path.iterdir())]
    assert write_legends(tmp_path, (Label(value=3, name="left kidney"),)) == []
    assert [file.stat().st_ino for file in sorted(tmp_path.iterdir())] == written  # a full disk would take no other
    write_legends(tmp_path, (Label(value=3, name="spleen"),))
    assert "3 spleen" in (tmp_path / "labels_slicer.ctbl").read_text()


def test_several_networks_in_one_file_are_averaged(tmp_path: Path) -> None:
    networks = []
    for seed in range(3):
        torch.manual_seed(seed)
        networks.append(build(PLAN))
        save_model(tmp_path / f"{seed}.autoseg", PLAN, networks[-1].state_dict(), {"trained_on": [f"case{seed}"]})
    save_ensemble(tmp_path / "all.autoseg", PLAN, [n.state_dict() for n in networks], {"trained_on": ["case0"]})
    write_scan(tmp_path / "a.nii.gz", Grid(shape=(16, 16, 16), spacing_mm=(2, 2, 2)))
    image = autoseg.read_image(tmp_path / "a.nii.gz")
    together = autoseg.load_model(tmp_path / "all.autoseg", "cpu")
    assert len(together.stages[0].networks) == 3
    run = tmp_path / "RUN"
    for seed in range(3):
        (run / f"fold-{seed}").mkdir(parents=True)
        (tmp_path / f"{seed}.autoseg").rename(run / f"fold-{seed}" / "model.autoseg")
    folds = autoseg.load_model(run, "cpu")
    np.testing.assert_array_equal(together.predict(image).mask.array, folds.predict(image).mask.array)


def rows_of(case: str) -> Prediction[None]:
    organs = [OrganPrediction(name=name, label=n, volume_ml=n / 3, expected_dice=None, at_border=False)
              for n, name in enumerate(("liver", "=1+1"), 1)]  # fmt: skip
    return Prediction(mask=None, organs=tuple(organs), unlike=(case,))


def add(table: Statistics, case: str, key: str = "k") -> None:
    with table.locked():
        table.forget(case)
        table.add(case, Origin(key=key, image="i", place="p"), [], rows_of(case))


def test_the_rows_of_an_image_are_appended_and_the_others_are_not_written_again(tmp_path: Path) -> None:
    file = tmp_path / NAME
    one, other = Statistics(file), Statistics(file)
    add(one, "b")
    inode = file.stat().st_ino
    for table, case in ((other, "c"), (one, "a"), (other, "d")):
        before = file.read_bytes()
        add(table, case)
        assert file.read_bytes().startswith(before)
    assert file.stat().st_ino == inode
    other.sort()
    whole = Statistics(tmp_path / "whole" / NAME)
    for case in "abcd":
        add(whole, case)
    assert file.read_bytes() == (tmp_path / "whole" / NAME).read_bytes()


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_table_whose_end_is_torn_loses_its_last_image_alone(tmp_path: Path, cut: int) -> None:
    file = tmp_path / NAME
    for case in "abc":
        add(Statistics(file), case)
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    table = Statistics(file)
    assert [table.has(case, "k", []) for case in "abc"] == [True, True, False]
    add(table, "c")
    assert file.read_bytes() == whole


def test_a_disk_that_is_full_leaves_the_table_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    table = Statistics(tmp_path / NAME)
    add(table, "a")
    before = (tmp_path / NAME).read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        add(table, "b")
    assert (tmp_path / NAME).read_bytes() == before


def test_a_folder_that_is_predicted_anew_has_its_table_rewritten_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [f"c{number:02d}" for number in range(30)]
    table = Statistics(tmp_path / NAME)
    for case in cases:
        add(table, case, key="first")
    written = list[Path]()
    write_rows = statistics.write_rows

    def noted(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        written.append(file)
        write_rows(file, rows)

    monkeypatch.setattr(statistics, "write_rows", noted)
    again = Statistics(tmp_path / NAME)
    for case in cases:
        add(again, case, key="second")
    assert not written
    again.sort()
    assert len(written) == 1
    rows = pd.read_csv(tmp_path / NAME)
    assert list(rows["case"].drop_duplicates()) == cases
    assert len(rows) == 60
    assert set(rows["key"]) == {"second"}


def test_rows_stay_until_their_image_is_predicted_anew(tmp_path: Path) -> None:
    table = Statistics(tmp_path / NAME)
    for case in "abc":
        add(table, case, key="first")
    again = Statistics(tmp_path / NAME)
    add(again, "a", key="second")  # and here it is interrupted
    left = Statistics(tmp_path / NAME)
    assert left.has("a", "second", [])
    assert not left.has("a", "first", [])
    assert left.has("b", "first", [])
    assert left.has("c", "first", [])


def test_of_an_image_predicted_twice_in_one_way_the_last_rows_hold(tmp_path: Path) -> None:
    table = Statistics(tmp_path / NAME)
    add(table, "a")
    add(table, "a")
    Statistics(tmp_path / NAME).sort()
    assert len(pd.read_csv(tmp_path / NAME)) == 2
