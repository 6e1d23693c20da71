"""Tests of autoseg.dataset.check, with what it stands on: faults are planted, one a case, and must all be found."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from planted import (
    ALL,
    ANY,
    GRID,
    HARMLESS,
    ONLY_CT,
    REAL,
    REAL_CT,
    SHAPE,
    Faults,
    copy_neighbour,
    exchange_channels,
    make_dataset,
    other_contrast,
    plant,
    rewrite,
    swap,
)

from autoseg.dataset.case import Case
from autoseg.dataset.check import all_findings, unused_files
from autoseg.dataset.check_images import is_ct
from autoseg.dataset.examine import ChannelFacts, Examination, examine_case
from autoseg.dataset.facts import SAMPLE, THUMBNAIL, sample_size
from autoseg.dataset.findings import Finding, row, write_check
from autoseg.dataset.load import Dataset, load_dataset
from autoseg.imaging.volumes import read_image, write_array


def examine(dataset: Dataset) -> list[Examination]:
    return [examine_case(case, dataset) for case in dataset.cases]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[Finding]]:
    """A cohort with every fault: fault to case id, and what was found."""
    dataset = make_dataset(tmp_path_factory.mktemp("cohort"), count=2 * len(ALL) + 20)
    where = dict(zip(ALL, plant(dataset, [fault for fault, *_ in ALL.values()]), strict=True))
    return where, all_findings(examine(dataset), dataset)


@pytest.mark.parametrize("fault", ALL)
def test_a_planted_fault_is_found(planted: tuple[dict[str, str], list[Finding]], fault: str) -> None:
    where, findings = planted
    found = {(finding.code, finding.severity) for finding in findings if finding.case == where[fault]}
    assert ALL[fault][1:] in found


def test_healthy_cases_among_faulty_ones_are_left_alone(planted: tuple[dict[str, str], list[Finding]]) -> None:
    where, findings = planted
    twins = ("image-twice", "image-alike", "label-twice")  # they are told with the copies
    assert [f for f in findings if f.case not in where.values() and f.code not in twins] == []


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


def test_facts_are_the_same_again_and_travel_between_processes(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=1)
    once, again = examine(dataset) + examine(dataset)
    assert once == again == pickle.loads(pickle.dumps(once))
    assert once.facts is not None
    assert len(pickle.dumps(once.facts)) < 4 * (SAMPLE + THUMBNAIL**3) + 4000  # four bytes a number


def test_of_very_many_cases_fewer_intensities_are_kept_of_each(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=1)
    few, many = (examine_case(dataset.cases[0], dataset, sample_size(cases)).facts for cases in (1, 100_000))
    assert few is not None
    assert many is not None
    assert len(few.sample[0]) > len(many.sample[0]) == 20
    assert set(many.sample[0]) <= set(read_image(dataset.cases[0].images).array.ravel().tolist())


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


def test_what_is_harmless_is_not_told(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=2 * len(HARMLESS) + 2)
    plant(dataset, list(HARMLESS.values()))
    assert all_findings(examine(dataset), dataset) == []


def test_a_case_without_label_map_still_has_its_image_looked_at(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=1)
    dataset.cases[0].label.unlink()
    dataset.cases[0].images[0].write_text("hello")
    assert [f.code for f in examine(dataset)[0].findings] == ["label-missing", "image-unusable"]


def test_files_that_no_case_names_are_told(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=3)
    cases = dataset.cases[:2]
    (tmp_path / "imagesTr/scan.png").touch()
    (tmp_path / "imagesTr/.hidden").touch()
    found = all_findings(examine(dataset), dataclasses.replace(dataset, cases=cases))
    told = {(Path(f.file).name, f.code, f.severity) for f in found if not f.case}
    unlisted = dataset.cases[2].images[0].name, dataset.cases[2].label.name
    assert told == {(n, "file-unused", "warning") for n in unlisted} | {("scan.png", "file-unused", "note")}


def test_the_slices_of_a_series_beside_its_contours_are_its_own(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=2)
    series = tmp_path / "scans" / "a"
    series.mkdir(parents=True)
    for name in ("0.dcm", "1.dcm", "RS.dcm"):
        (series / name).touch()
    case = dataclasses.replace(dataset.cases[0], images=(series,), label=series / "RS.dcm")
    found = list(unused_files(dataclasses.replace(dataset, cases=(case,))))
    assert not [one for one in found if "dcm" in one.found or "scans" in one.file]


def test_many_files_that_no_case_names_are_told_in_one_row(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=8)
    found = all_findings([], dataclasses.replace(dataset, cases=dataset.cases[:1]))
    assert [f.file for f in found] == [str(tmp_path)]
    assert found[0].found.startswith("14 files in 2 folders that no case names: imagesTr/c001_0000.nii.gz, ")


def test_mixed_channels_are_told(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=12, channels=("T1", "T2"))
    other_contrast(dataset)
    exchange_channels(dataset.cases[3])
    shutil.copyfile(dataset.cases[5].images[0], dataset.cases[5].images[1])
    copy_neighbour(dataset.cases[7].images[1])  # of its own other channel
    shutil.copyfile(dataset.cases[8].images[1], dataset.cases[9].images[1])
    found = {(f.case, f.code) for f in all_findings(examine(dataset), dataset)}
    mixed = {("c003", "channels-swapped"), ("c005", "channels-same"), ("c007", "channels-same")}
    assert found >= mixed | {("c008", "image-twice"), ("c009", "image-twice")}
    assert {case for case, code in found if code.startswith("channels")} == {"c003", "c005", "c007"}


def test_channels_that_are_the_same_everywhere_are_told_once(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, count=8, channels=("T1", "T2"))
    for case in dataset.cases:
        shutil.copyfile(case.images[0], case.images[1])
    (finding,) = all_findings(examine(dataset), dataset)
    assert (finding.case, finding.code) == ("", "channels-same")


REAL_FAULTS = {"hippocampus": ANY | REAL, "headneck_ct": ANY | ONLY_CT | REAL | REAL_CT}


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("name", REAL_FAULTS)
def test_every_fault_planted_in_real_data_is_found(real_data: Path, tmp_path: Path, name: str, half: int) -> None:
    shutil.copytree(real_data / name, tmp_path / name, copy_function=shutil.copyfile)
    dataset = load_dataset(tmp_path / name)
    faults: Faults = dict(list(REAL_FAULTS[name].items())[half::2])
    where = dict(zip(faults, plant(dataset, [fault for fault, *_ in faults.values()]), strict=True))
    findings = all_findings(examine(dataset), dataset)
    found = {(finding.case, finding.code, finding.severity) for finding in findings}
    assert [fault for fault in faults if (where[fault], *faults[fault][1:]) not in found] == []
    assert {f.case for f in findings if f.severity == "fatal"} <= set(where.values())


@pytest.mark.parametrize("name", REAL_FAULTS)
def test_clean_real_data_has_few_warnings_and_harmless_changes_add_none(
    real_data: Path, tmp_path: Path, name: str
) -> None:
    clean = load_dataset(real_data / name)
    before = [(f.case, f.code, f.severity) for f in all_findings(examine(clean), clean)]
    assert "fatal" not in [severity for *_, severity in before]
    assert len([severity for *_, severity in before if severity == "warning"]) <= 1
    shutil.copytree(real_data / name, tmp_path / name, copy_function=shutil.copyfile)
    dataset = load_dataset(tmp_path / name)
    plant(dataset, list(HARMLESS.values()))
    assert [(f.case, f.code, f.severity) for f in all_findings(examine(dataset), dataset)] == before


@pytest.mark.parametrize("name", REAL_FAULTS)
def test_channels_mixed_in_real_data_are_found(real_data: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(real_data / name, tmp_path / name, copy_function=shutil.copyfile)
    one = load_dataset(tmp_path / name)
    cases = [
        dataclasses.replace(c, images=(*c.images, c.images[0].with_name(f"{c.id}_second.nii.gz")))
        for c in one.cases[:40]
    ]
    dataset = dataclasses.replace(one, channels=("first", "second"), cases=tuple(cases))
    other_contrast(dataset)
    for case in cases[3:13:3]:
        exchange_channels(case)
    for case in cases[20:24]:
        shutil.copyfile(case.images[0], case.images[1])
    found = [(f.case, f.code) for f in all_findings(examine(dataset), dataset) if f.code.startswith("channels")]
    wanted = [(c.id, "channels-swapped") for c in cases[3:13:3]] + [(c.id, "channels-same") for c in cases[20:24]]
    assert sorted(found) == sorted(wanted)


def test_a_row_costs_the_same_however_many_cases_there_are(tmp_path: Path) -> None:
    walked = 0

    class Walked(tuple[Case, ...]):
        def __iter__(self) -> Iterator[Case]:
            nonlocal walked
            walked += 1
            return super().__iter__()

    cases = [Case(id=f"c{n}", images=(Path(f"{n}.nii"),), label=Path(f"l{n}.nii"), patient="x") for n in range(50)]
    dataset = dataclasses.replace(make_dataset(tmp_path, count=1), cases=Walked(cases))
    files = [row(dataset, case.id, "label", "shape", "note", "x", "y").file for case in cases]
    assert files == [f"l{n}.nii" for n in range(50)]
    assert row(dataset, "", "image", "shape", "note", "x", "y").file == str(tmp_path)
    assert walked == 1
