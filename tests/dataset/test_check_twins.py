"""Tests of autoseg.dataset.check_twins: no pair is missed, and what is told does not grow with the copies."""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from autoseg.dataset import check_twins
from autoseg.dataset.case import Case
from autoseg.dataset.check_twins import ALIKE, ALIKE_SHARE, twin_findings
from autoseg.dataset.facts import THUMBNAIL, CaseFacts, ChannelFacts
from autoseg.dataset.load import Dataset
from autoseg.dataset.organ_facts import OrganFacts
from autoseg.imaging.grid import Grid
from autoseg.labels import Label

GRID = Grid(shape=(8, 8, 8), spacing_mm=(1.0, 1.0, 1.0))
SMALL = THUMBNAIL // 2


def dataset_of(count: int) -> Dataset:
    cases = tuple(
        Case(id=f"c{n:04d}", images=(Path(f"{n}.nii"),), label=Path(f"l{n}.nii"), patient=f"c{n:04d}")
        for n in range(count)
    )
    return Dataset(name="x", root=Path("root"), channels=("MR",), labels=(Label(value=1, name="liver"),), cases=cases)


def facts_of(number: int, thumbnail: npt.NDArray[np.float64], digest: str = "", label: str = "") -> CaseFacts:
    flat = thumbnail.ravel() - thumbnail.mean()
    channel = ChannelFacts(
        low=0.0, high=1.0, mean=0.5, std=0.1, percentile_00_5=0.0, median=0.5, percentile_99_5=1.0, air=0.0,
        digest=digest or str(number), thumbnail=array("f", flat / np.linalg.norm(flat)),
    )  # fmt: skip
    organ = OrganFacts.of(
        1, size=(8, 0.008), box=((0, 2), (0, 2), (0, 2)), centroid_mm=(0.0, 0.0, 0.0), at_border=False,
        islands=(1, 1.0), mean=(0.5,), std=(0.1,),
    )  # fmt: skip
    return CaseFacts(
        case=f"c{number:04d}", grid=GRID, stored=GRID, channels=(channel,), organs=(organ,), sample=(array("f"),),
        label_digest=label or str(number),
    )  # fmt: skip


def images(count: int, seed: int, noise: float) -> npt.NDArray[np.float64]:
    """Return smooth images, each with some noise of its own, (count, 8, 8, 8)."""
    draw = np.random.default_rng(seed)
    coarse = draw.normal(size=(count, SMALL, SMALL, SMALL)).repeat(2, 1).repeat(2, 2).repeat(2, 3)
    return np.asarray(coarse + noise * draw.normal(size=coarse.shape))


def nearest_of_all_pairs(thumbnails: npt.NDArray[np.float32]) -> list[tuple[int, float]]:
    """Return the nearest other and its distance, of each: all pairs, all eight ways."""
    cubes = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL, THUMBNAIL)
    likeness = np.full((len(cubes),) * 2, -1.0)
    for steps in np.ndindex(2, 2, 2):
        z, y, x = (1 - 2 * step for step in steps)
        likeness = np.maximum(likeness, cubes[:, ::z, ::y, ::x].reshape(len(cubes), -1) @ thumbnails.T)
    np.fill_diagonal(likeness, -1.0)
    return [(int(row.argmax()), 1.0 - float(row.max())) for row in likeness]


@pytest.mark.parametrize("noise", [0.02, 1.0])
def test_the_cases_that_are_alike_are_those_of_all_pairs_mirrored_or_not(noise: float) -> None:
    cubes = images(80, 1, noise)
    draw = np.random.default_rng(2)
    for number, turn in enumerate([(1, 1, 1), (-1, 1, 1), (1, 1, -1), (-1, -1, -1)]):
        z, y, x = turn
        cubes[40 + number] = cubes[number, ::z, ::y, ::x] + 0.01 * draw.normal(size=cubes[0].shape)
    facts = [facts_of(number, cube) for number, cube in enumerate(cubes)]
    nearest = nearest_of_all_pairs(np.array([case.channels[0].thumbnail for case in facts], dtype=np.float32))
    limit = min(ALIKE, ALIKE_SHARE * float(np.median([distance for _, distance in nearest])))
    expected = {f"c{n:04d}": f"c{other:04d}" for n, (other, distance) in enumerate(nearest) if distance < limit}
    findings = list(twin_findings(facts, dataset_of(len(facts))))
    assert {finding.case: finding.found.split()[5] for finding in findings} == expected
    assert len(expected) == 8


def test_few_pairs_are_compared_where_few_are_near(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    nearest = check_twins._nearest

    def counted(thumbnails: npt.NDArray[np.float32], number: int, among: npt.NDArray[np.intp] | None = None) -> object:
        nonlocal compared
        compared += len(thumbnails) if among is None else len(among)
        return nearest(thumbnails, number, among)

    monkeypatch.setattr(check_twins, "_nearest", counted)
    monkeypatch.setattr(check_twins, "SAMPLED", 10)
    facts = [facts_of(number, cube) for number, cube in enumerate(images(1000, 3, 0.02))]
    assert list(twin_findings(facts, dataset_of(len(facts)))) == []
    assert compared < 20 * len(facts)  # all pairs are 1000 times as many as cases


def test_a_few_copies_are_told_each_and_very_many_in_one_row() -> None:
    cubes = images(30, 4, 0.02)
    few = [facts_of(n, cubes[3 if n == 5 else n], digest="copy" if n in (3, 5) else "") for n in range(30)]
    told = [(f.case, f.code, f.found) for f in twin_findings(few, dataset_of(30))]
    assert told == [
        ("c0003", "image-twice", "the same voxels as c0005"),
        ("c0005", "image-twice", "the same voxels as c0003"),
    ]
    many = [facts_of(n, cubes[0], digest="copy", label="copy") for n in range(500)]
    (finding,) = twin_findings(many, dataset_of(500))
    assert (finding.case, finding.code) == ("", "image-twice")
    assert finding.found == "the same voxels in 500 cases: c0000, c0001, c0002, …"


def test_an_image_of_one_patient_may_be_there_twice() -> None:
    thumbnails = images(8, 3, 1.0)
    thumbnails[1] = thumbnails[0]
    digests = ["same", "same", *map(str, range(2, 8))]
    facts = [facts_of(n, cube, digest) for n, (cube, digest) in enumerate(zip(thumbnails, digests, strict=True))]
    dataset = dataset_of(8)
    of_one = [replace(case, patient="p") if case.id in ("c0000", "c0001") else case for case in dataset.cases]
    (first, _), (note, _) = (
        list(twin_findings(facts, one)) for one in (dataset, replace(dataset, cases=tuple(of_one)))
    )
    assert (first.severity, note.severity) == ("warning", "note")
    assert note.found == "the same voxels as c0001, which is the same patient's"


def test_a_label_map_of_very_many_images_is_told_once() -> None:
    facts = [facts_of(n, cube, label="copy") for n, cube in enumerate(images(30, 5, 0.02))]
    (finding,) = twin_findings(facts, dataset_of(30))
    assert (finding.case, finding.code, finding.file) == ("", "label-twice", "root")
    assert finding.found == "the same label map in 30 cases: c0000, c0001, c0002, …"
