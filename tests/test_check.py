"""Tests of autoseg.planning.check, with what it stands on: faults are planted, one a case, and must all be found."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from autoseg.grid import Grid
from autoseg.planning.check import all_findings, is_ct, write_check
from autoseg.planning.dataset import Case, Dataset, load_dataset
from autoseg.planning.examine import ChannelFacts, Examination, examine_case
from autoseg.planning.findings import Finding
from autoseg.volumes import write_array

Array = npt.NDArray[Any]
Change = Callable[[Array], Array]
Fault = Callable[[Case], object]

LABELS = {"background": 0, "liver": 1, "kidney_left": 2, "kidney_right": 3}
SHAPE = (24, 16, 20)
GRID = Grid(shape=SHAPE, spacing_mm=(3.0, 2.0, 2.0))


def healthy(seed: int) -> tuple[Array, Array]:
    """Return image (HU) and label map of a body in air with three boxes for organs, a little different each time."""
    draw = np.random.default_rng(seed)
    z, y, x = draw.integers(0, 2, size=3)
    label = np.zeros(SHAPE, np.uint8)
    label[3 + z : 8 + z, 4 + y : 9, 3 : 8 + x] = 1
    label[4 + z : 8, 10 + y : 13, 12 : 15 + x] = 2
    label[4 : 8 + z, 10 : 12 + y, 4 : 7 + x] = 3
    first = np.flatnonzero(label == 1)[:8]
    label.flat[[at for bit, at in enumerate(first) if seed >> bit & 1]] = 0  # so that no two are the same
    image = np.full(SHAPE, -1000.0, np.float32)
    image[1:-1, 2:-2, 2:-2] = 40.0
    image[label > 0] += 60.0
    image[:, -3, :] = 700.0
    return image + draw.normal(0, 10, SHAPE).astype(np.float32), label


def make_dataset(root: Path, count: int, channels: tuple[str, ...] = ("CT",)) -> Dataset:
    for seed in range(count):
        image, label = healthy(seed)
        for number in range(len(channels)):
            write_array(root / f"imagesTr/c{seed:03d}_{number:04d}.nii.gz", image + number, GRID)
        write_array(root / f"labelsTr/c{seed:03d}.nii.gz", label, GRID)
    meta = {"channel_names": dict(enumerate(channels)), "labels": LABELS, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(meta))
    return load_dataset(root)


def examine(dataset: Dataset) -> list[Examination]:
    return [examine_case(case, dataset) for case in dataset.cases]


def rewrite(file: Path, change: Change) -> None:
    """Change the voxels of a file; the header stays."""
    image = sitk.ReadImage(str(file))
    changed = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
    if changed.GetDimension() == 3:
        changed.SetSpacing(image.GetSpacing())
        changed.SetOrigin(image.GetOrigin())
        changed.SetDirection(image.GetDirection())
    sitk.WriteImage(changed, str(file))


def move(file: Path, voxels: float = 0.0, spacing: float = 1.0, flip: bool = False) -> None:
    """Change the header of a file; the voxels stay."""
    image = sitk.ReadImage(str(file))
    image.SetOrigin([o + voxels * s for o, s in zip(image.GetOrigin(), image.GetSpacing(), strict=True)])
    image.SetSpacing([s * spacing for s in image.GetSpacing()])
    if flip:
        image.SetDirection([-d if i in (0, 3, 6) else d for i, d in enumerate(image.GetDirection())])
    sitk.WriteImage(image, str(file))


def in_image(change: Change) -> Fault:
    return lambda case: rewrite(case.images[0], change)


def in_label(change: Change) -> Fault:
    return lambda case: rewrite(case.label, change)


def with_voxel(value: float, kind: type[np.generic]) -> Change:
    """Return a change that sets the first voxel; it lies in no organ."""

    def change(array: Array) -> Array:
        changed = array.astype(kind)
        changed[0, 0, 0] = value
        return changed

    return change


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def scatter_first(label: Array) -> Array:
    """Shrink the first organ to one of its voxels."""
    only = np.flatnonzero(label == 1)[:1]
    changed = np.where(label == 1, 0, label)
    changed.flat[only] = 1
    return changed


def swap(label: Array, a: int, b: int) -> Array:
    return np.where(label == a, b, np.where(label == b, a, label)).astype(label.dtype)


def reorient(case: Case) -> None:
    """Store image and label map with axes turned: the same patient, other letters."""
    for file in (case.images[0], case.label):
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(file)), "SAR"), str(file))


def stretch(case: Case) -> None:
    for file in (case.images[0], case.label):
        move(file, spacing=10.0)


def copy_neighbour(*files: Path) -> None:
    """Replace files by those before them in their folders: of a case that has no fault of its own."""
    for file in files:
        names = sorted(file.parent.iterdir())
        shutil.copyfile(names[names.index(file) - 1], file)


ANY: dict[str, tuple[Fault, str, str]] = {  # what is planted, the code and the severity it must be found with
    "image removed": (lambda c: c.images[0].unlink(), "image-missing", "fatal"),
    "label map removed": (lambda c: c.label.unlink(), "label-missing", "fatal"),
    "image cut short": (lambda c: cut_short(c.images[0]), "image-unusable", "fatal"),
    "label map cut short": (lambda c: cut_short(c.label), "label-unusable", "fatal"),
    "image is text": (lambda c: c.images[0].write_text("hello"), "image-unusable", "fatal"),
    "label map is empty": (lambda c: c.label.write_bytes(b""), "label-unusable", "fatal"),
    "NaN": (in_image(with_voxel(np.nan, np.float32)), "image-unusable", "fatal"),
    "infinite": (in_image(with_voxel(np.inf, np.float32)), "image-unusable", "fatal"),
    "image is 2D": (in_image(lambda a: a[5]), "image-unusable", "fatal"),
    "label map is 4D": (in_label(lambda a: np.stack([a, a])), "label-unusable", "fatal"),
    "constant image": (in_image(np.zeros_like), "image-constant", "fatal"),
    "two channels": (in_image(lambda a: np.stack([a, a])), "channels", "fatal"),
    "fractional label": (in_label(with_voxel(0.5, np.float32)), "label-unusable", "fatal"),
    "NaN label": (in_label(with_voxel(np.nan, np.float32)), "label-unusable", "fatal"),
    "unknown label value": (in_label(with_voxel(9, np.uint8)), "label-values", "fatal"),
    "huge label value": (in_label(with_voxel(2_000_000_000, np.int32)), "label-values", "fatal"),
    "negative label value": (in_label(with_voxel(-1, np.int16)), "label-values", "fatal"),
    "label map without organs": (in_label(np.zeros_like), "label-empty", "warning"),
    "label map with a slice less": (in_label(lambda a: a[1:]), "shape", "fatal"),
    "label map with axes swapped": (in_label(lambda a: a.transpose(2, 1, 0)), "shape", "fatal"),
    "label map shifted by a tenth of a voxel": (lambda c: move(c.label, voxels=0.1), "geometry-repairable", "warning"),
    "label map shifted by five voxels": (lambda c: move(c.label, voxels=5.0), "geometry", "fatal"),
    "label map with another spacing": (lambda c: move(c.label, spacing=1.5), "geometry", "fatal"),
    "label map's header mirrored": (lambda c: move(c.label, flip=True), "geometry", "fatal"),
    "organ missing": (in_label(lambda a: np.where(a == 1, 0, a)), "organ-absent", "warning"),
    "organ of one voxel": (in_label(scatter_first), "organ-volume", "warning"),
    "organ everywhere": (in_label(lambda a: np.where(a == 0, 1, a)), "organ-volume", "warning"),
    "organ at the border": (in_label(with_voxel(1, np.uint8)), "organ-cut", "note"),
    "stray island": (in_label(with_voxel(2, np.uint8)), "organ-islands", "note"),
    "case under two names": (lambda c: copy_neighbour(c.images[0], c.label), "image-twice", "warning"),
    "spacing ten times too large": (stretch, "spacing", "warning"),
    "another orientation": (reorient, "orientation", "note"),
}
ONLY_CT: dict[str, tuple[Fault, str, str]] = {
    "rescaled to 0-1": (in_image(lambda a: (a - a.min()) / np.ptp(a)), "not-hu", "warning"),
    "rescaled to 0-255": (in_image(lambda a: ((a - a.min()) / np.ptp(a) * 255).astype(np.uint8)), "not-hu", "warning"),
    "intercept not applied": (in_image(lambda a: a - a.min()), "not-hu", "warning"),
    "far below air": (in_image(with_voxel(-9999, np.float32)), "not-hu", "warning"),
    "padded": (in_image(with_voxel(-3024, np.float32)), "hu-padded", "note"),
    "no air": (in_image(lambda a: a.clip(-150)), "no-air", "note"),
    "organs mirrored": (in_label(lambda a: np.flip(a, axis=2)), "sides-swapped", "warning"),
    "label map upside down": (in_label(lambda a: np.flip(a, axis=0)), "organ-place", "warning"),
    "label map off the organs": (in_label(lambda a: np.roll(a, -4, axis=1)), "organ-intensity", "warning"),
}
SYNTHETIC: dict[str, tuple[Fault, str, str]] = {
    "left and right swapped": (in_label(lambda a: swap(a, 2, 3)), "sides-swapped", "warning"),
    "image of another case": (lambda c: copy_neighbour(c.images[0]), "image-twice", "warning"),
    "label map of another case": (lambda c: copy_neighbour(c.label), "label-twice", "warning"),
}
ALL = ANY | ONLY_CT | SYNTHETIC


def plant(dataset: Dataset, faults: dict[str, tuple[Fault, str, str]]) -> dict[str, str]:
    """Plant one fault in every other case; return fault to case id."""
    cases = dataset.cases[1::2]
    for (fault, _, _), case in zip(faults.values(), cases, strict=False):
        fault(case)
    return dict(zip(faults, (case.id for case in cases), strict=False))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[Finding]]:
    """A cohort with every fault: fault to case id, and what was found."""
    dataset = make_dataset(tmp_path_factory.mktemp("cohort"), count=2 * len(ALL) + 20)
    where = plant(dataset, ALL)
    return where, all_findings(examine(dataset), dataset)


@pytest.mark.parametrize("fault", ALL)
def test_a_planted_fault_is_found(planted: tuple[dict[str, str], list[Finding]], fault: str) -> None:
    where, findings = planted
    found = {(finding.code, finding.severity) for finding in findings if finding.case == where[fault]}
    assert ALL[fault][1:] in found


def test_healthy_cases_among_faulty_ones_are_left_alone(planted: tuple[dict[str, str], list[Finding]]) -> None:
    where, findings = planted
    others = [f for f in findings if f.case not in where.values() and f.code not in ("image-twice", "label-twice")]
    assert others == []


def test_findings_come_worst_first_on_one_line_with_a_way_out(planted: tuple[dict[str, str], list[Finding]]) -> None:
    _, findings = planted
    order = [("fatal", "warning", "note").index(finding.severity) for finding in findings]
    assert order == sorted(order)
    assert all(f.found and f.fix and f.file and "\n" not in f.found + f.fix for f in findings)


def test_a_clean_cohort_has_no_findings(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=10, channels=("CT", "second"))
    assert all_findings(examine(dataset), dataset) == []


def test_an_organ_that_no_case_has_and_sides_wrong_everywhere_are_said_once(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=4)
    for case in dataset.cases:
        rewrite(case.label, lambda a: swap(np.where(a == 1, 0, a), 2, 3))
    findings = all_findings(examine(dataset), dataset)
    assert [f.code for f in findings if not f.case] == ["organ-never", "sides-swapped"]
    assert "sides-swapped" not in [f.code for f in findings if f.case]


def test_one_constant_channel_of_two_is_a_warning(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=1, channels=("T1", "T2"))
    rewrite(dataset.cases[0].images[1], np.zeros_like)
    (finding,) = examine(dataset)[0].findings
    assert (finding.code, finding.severity) == ("image-constant", "warning")
    assert finding.file == str(dataset.cases[0].images[1])


def test_facts_can_be_checked_by_hand(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=1)
    label = np.zeros(SHAPE, np.uint8)
    label[11:13, 7:9, 0:4] = 2
    write_array(dataset.cases[0].label, label, GRID)
    write_array(dataset.cases[0].images[0], np.arange(label.size).reshape(SHAPE).astype(np.float32), GRID)
    facts = examine(dataset)[0].facts
    assert facts is not None
    (organ,) = facts.organs
    assert (organ.value, organ.voxels, organ.box, organ.extent_voxels) == (2, 16, ((11, 13), (7, 9), (0, 4)), (2, 2, 4))
    assert organ.ml == pytest.approx(16 * 0.012)
    assert organ.centroid_mm == pytest.approx((0.0, 0.0, -16.0))  # 2 mm voxels 0 to 3 of 20
    assert (organ.at_border, organ.islands, organ.largest) == (True, 1, 1.0)
    assert (facts.channels[0].low, facts.channels[0].high, facts.channels[0].air) == (0.0, label.size - 1, 0.0)
    assert facts.channels[0].mean == facts.channels[0].median == (label.size - 1) / 2
    assert sorted(facts.sample[0]) == np.flatnonzero(label).tolist()


def test_facts_are_the_same_again_and_travel_as_json_and_pickle(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=1)
    once, again = examine(dataset) + examine(dataset)
    assert once == again == pickle.loads(pickle.dumps(once))
    assert json.loads(json.dumps(dataclasses.asdict(once)))["facts"]["case"] == "c000"


def channel(low: float, percentile: float, high: float) -> ChannelFacts:
    return ChannelFacts(
        low=low, high=high, mean=0.0, std=1.0, percentile_00_5=percentile, median=0.0, percentile_99_5=high, air=0.0
    )


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [
        ("CT", [channel(0.0, 0.0, 1.0)], True),
        ("channel 0", [channel(-1024.0, -1000.0, 1500.0)] * 2, True),
        ("channel 0", [channel(-1024.0, -1000.0, 1500.0), channel(0.0, 0.0, 4000.0)], False),
        ("T2", [channel(-5.0, -2.0, 9.0)], False),
        ("channel 0", [], False),
    ],
)
def test_ct_is_told_by_its_name_or_by_all_images(name: str, channels: list[ChannelFacts], expected: bool) -> None:
    assert is_ct(name, channels) is expected


def test_a_written_check_is_a_list_of_rows(tmp_path: Path) -> None:
    finding = Finding(case="a", file="a.nii.gz", code="shape", severity="fatal", found="x", fix="y")
    write_check([finding], tmp_path / "check.json")
    assert json.loads((tmp_path / "check.json").read_text()) == [dataclasses.asdict(finding)]


@pytest.mark.parametrize(("name", "ct"), [("hippocampus", False), ("headneck_ct", True)])
def test_real_data_has_no_fatal_finding_and_shows_every_planted_one(
    real_data: Path, tmp_path: Path, name: str, ct: bool
) -> None:
    clean = load_dataset(real_data / name)
    assert [f for f in all_findings(examine(clean), clean) if f.severity == "fatal"] == []
    shutil.copytree(real_data / name, tmp_path / name, copy_function=shutil.copyfile)
    dataset = load_dataset(tmp_path / name)
    faults = ANY | ONLY_CT if ct else ANY
    where = plant(dataset, faults)
    findings = all_findings(examine(dataset), dataset)
    found = {(finding.case, finding.code, finding.severity) for finding in findings}
    assert [fault for fault in faults if (where[fault], *faults[fault][1:]) not in found] == []
    assert {f.case for f in findings if f.severity == "fatal"} <= set(where.values())
