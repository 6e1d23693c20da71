"""Tests of autoseg.planning.ceiling: the reference is the way of a real prediction, `winning_class` and `dice`."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import made
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from autoseg.dataset.load import Case, load_dataset
from autoseg.imaging import resample
from autoseg.imaging.grid import Grid, Triple, Voxels
from autoseg.imaging.resample import axis_weights, resample_label
from autoseg.imaging.volumes import write_array
from autoseg.labels import Label, LabelScheme
from autoseg.metrics.overlap import overlap
from autoseg.planning import ceiling
from autoseg.planning.ceiling import LEAST_OF_EACH, MOST_CASES, MOST_PARTLY, ceilings, dataset_ceilings

Array = npt.NDArray[Any]

shapes = st.tuples(*[st.integers(1, 24)] * 3)
seeds = st.integers(0, 10_000)
quick = settings(max_examples=150)


def blobs(seed: int, shape: Voxels, organs: int) -> Array:
    """Return random lumps of the classes 1 … `organs` and background, coarse on some axes and fine on others."""
    draw = np.random.default_rng(seed)
    noise = draw.normal(size=(organs + 1, *shape))
    return ndimage.gaussian_filter(noise, (0, *draw.uniform(0, 3, 3))).argmax(axis=0).astype(np.uint8)


def one_hot(label: Array, shape: Voxels, organs: int) -> Array:
    working = resample_label(label, shape)
    return np.stack([working == value for value in range(organs + 1)]).astype(np.float32)


def reference(label: Array, shape: Voxels, organs: int) -> dict[int, float]:
    back = made.winning_class(one_hot(label, shape, organs), label.shape)
    counts = overlap(back, label, range(1, organs + 1))
    return {value: found.dice or 0.0 for value, found in counts.items() if found.truth}


def ties(label: Array, shape: Voxels, organs: int) -> int:
    """Count the voxels in which two classes come back equally strong, so that rounding decides."""
    full = one_hot(label, shape, organs).astype(np.float64)
    for axis, (small, large) in enumerate(zip(shape, label.shape, strict=True), start=1):
        weights = axis_weights(small, large, averaging=False).astype(np.float64)
        full = np.moveaxis(np.tensordot(weights, full, axes=(1, axis)), 0, axis)
    second, best = np.sort(full, axis=0)[-2:]
    return int((best - second < 1e-6).sum())


def organs_of(values: Iterable[int]) -> LabelScheme:
    return LabelScheme(labels=tuple(Label(value=value, name=f"organ {value}") for value in values))


def ball(shape: Voxels, radius: float) -> Array:
    z, y, x = np.ogrid[tuple(slice(-(n - 1) / 2, n / 2) for n in shape)]
    return (z**2 + y**2 + x**2 <= radius**2).astype(np.uint8)


@quick
@given(shapes, st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 3), st.integers(1, 4), seeds)
def test_it_is_the_dice_of_the_way_there_and_back(small: Voxels, factors: Voxels, organs: int, seed: int) -> None:
    z, y, x = (min(n, 6) * f for n, f in zip(small, factors, strict=True))
    label = blobs(seed, (z, y, x), organs)
    shape = (z // factors[0], y // factors[1], x // factors[2])
    (found,) = ceilings(label, organs_of(range(1, organs + 1)), [shape])
    assert found == pytest.approx(reference(label, shape, organs), abs=1e-6)


@quick
@given(shapes, shapes, st.integers(1, 4), seeds)
def test_any_shapes_there_and_back_differ_at_most_where_rounding_decides(
    shape: Voxels, new: Voxels, organs: int, seed: int
) -> None:
    # Uneven factors have no exact weights in float32: where two classes are equal, the order of additions in the
    # matrix product (it depends on the matrices' sizes) decides.
    label = blobs(seed, shape, organs)
    (found,) = ceilings(label, organs_of(range(1, organs + 1)), [new])
    expected = reference(label, new, organs)
    assert found.keys() == expected.keys()
    equal = ties(label, new, organs)
    for value, dice in expected.items():
        assert found[value] == pytest.approx(dice, abs=1e-6 + 4 * equal / np.count_nonzero(label == value))


@quick
@given(shapes, st.integers(1, 4), seeds)
def test_the_same_grid_costs_nothing(shape: Voxels, organs: int, seed: int) -> None:
    label = blobs(seed, shape, organs)
    (found,) = ceilings(label, organs_of(range(1, organs + 1)), [shape])
    assert found == {value: 1.0 for value in np.unique(label).tolist() if value}


def test_a_block_on_the_coarse_grid_loses_only_its_edges() -> None:
    label = np.zeros((16, 16, 16), np.uint8)
    label[4:12, 4:12, 4:12] = 1  # exactly two voxels of the ×4 grid on each axis
    (found,) = ceilings(label, organs_of((1,)), [(4, 4, 4)])
    # From each face inwards an axis has the weights .625, .875, 1, 1; a voxel stays where the product of three is over
    # a half. Lost in each of the 8 corners: .625³ once, .625² · (any other) 9 times, .625 · .875² 3 times.
    assert found == {1: pytest.approx(2 * (512 - 8 * 13) / (512 + 512 - 8 * 13))}


def test_a_thin_tube_loses_what_a_thick_one_keeps() -> None:
    label = np.zeros((32, 64, 64), np.uint8)
    label[:, 10:12, 10:12] = 1
    label[:, 20:44, 20:44] = 2
    (found,) = ceilings(label, organs_of((1, 2)), [(8, 16, 16)])
    assert found[1] == 0.0
    assert found[2] > 0.95


def test_a_finer_grid_never_serves_a_ball_worse() -> None:
    label = ball((48, 48, 48), 11.3)
    found = [
        dice[1] for dice in ceilings(label, organs_of((1,)), [(48, 48, 48), (24, 24, 24), (12, 12, 12), (6, 6, 6)])
    ]
    assert found == sorted(found, reverse=True)


def test_values_may_be_anything_and_unlisted_ones_are_background() -> None:
    label = blobs(3, (12, 20, 16), 3)
    values = np.array([0, 300, 5, 60000])[label]  # 300 is class 2, as in the order below
    shape = (3, 10, 4)
    expected = reference(np.array([0, 2, 1, 0], np.uint8)[label], shape, 2)
    assert ceilings(values, organs_of((5, 300)), [shape]) == [{5: expected[1], 300: expected[2]}]


def test_absent_organs_are_left_out_and_a_lost_one_has_dice_0() -> None:
    label = np.zeros((8, 8, 8), np.uint8)
    label[3, 3, 3] = 2
    assert ceilings(label, organs_of((1, 2, 3)), [(2, 2, 2), (8, 8, 8)]) == [{2: 0.0}, {2: 1.0}]
    assert ceilings(np.zeros((4, 4, 4), np.uint8), organs_of((1, 2)), [(2, 2, 2)]) == [{}]


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint16])
def test_the_type_and_layout_of_the_label_map_do_not_matter(kind: type[np.integer[Any]]) -> None:
    label = blobs(1, (9, 14, 11), 2)
    same = np.asfortranarray(label.astype(kind))[::-1, :, ::-1]
    assert ceilings(same, organs_of((1, 2)), [(4, 7, 5)]) == ceilings(
        label[::-1, :, ::-1].copy(), organs_of((1, 2)), [(4, 7, 5)]
    )


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    label = blobs(5, (24, 16, 20), 3)
    grids = [(6, 8, 5), (24, 8, 10), (48, 8, 10), (9, 11, 13)]
    whole = ceilings(label, organs_of((1, 2, 3)), grids)
    monkeypatch.setattr(resample, "CHUNK_VOXELS", 1)  # plane by plane
    for found, expected in zip(ceilings(label, organs_of((1, 2, 3)), grids), whole, strict=True):
        assert found == pytest.approx(expected, abs=1e-6)


def test_memory_follows_the_organs_and_not_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "CHUNK_VOXELS", 1 << 18)  # in proportion to a volume that is small enough for a test
    label = np.zeros((200, 200, 200), np.uint8)
    label[60:140, 60:140, 60:140] = ball((80, 80, 80), 40)
    label[70:130, 95:100, 95:100] = 2
    tracemalloc.start()
    ceilings(label, organs_of((1, 2)), [(50, 50, 50)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 80**3


def write_cases(root: Path, labels: Sequence[Array]) -> list[Case]:
    grid = Grid(shape=labels[0].shape, spacing_mm=(2.0, 1.0, 1.0))
    cases = []
    for number, label in enumerate(labels):
        file = root / f"c{number:02d}.nii.gz"
        write_array(file, label, grid)
        cases.append(Case(id=f"c{number:02d}", images=(file,), label=file, patient=f"c{number:02d}"))
    return cases


ORGANS = organs_of((1, 2, 9))
SPACINGS = ((2.0, 1.0, 1.0), (4.0, 2.0, 2.0))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_dataset_has_the_mean_over_the_cases_with_the_organ(tmp_path: Path, jobs: int) -> None:
    labels = [blobs(0, (8, 12, 12), 1), blobs(1, (8, 12, 12), 2)]
    cases = write_cases(tmp_path, labels)
    first, second = (ceilings(label, organs_of((1, 2)), [(4, 6, 6)])[0] for label in labels)
    found = dataset_ceilings(cases, ORGANS, SPACINGS, jobs)
    assert found[0] == (1.0, pytest.approx((first[1] + second[1]) / 2))
    assert found[1] == (1.0, pytest.approx(second[2]))
    assert found[2] == (None, None)


def test_a_case_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    cases = write_cases(tmp_path, [blobs(0, (8, 12, 12), 2), blobs(1, (8, 12, 12), 2)])
    alone = dataset_ceilings(cases[1:], ORGANS, SPACINGS)
    cases[0].label.write_bytes(b"no image")
    assert dataset_ceilings(cases, ORGANS, SPACINGS) == alone
    assert dataset_ceilings(cases[:1], ORGANS, SPACINGS) == ((None, None),) * 3
    assert dataset_ceilings([], ORGANS, SPACINGS) == ((None, None),) * 3


def test_many_cases_are_sampled_evenly_from_first_to_last(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(ceiling, "_case_ceilings", lambda work: read.append(work[0].id) or [{1: 1.0}])
    cases = [Case(id=f"{n:03d}", images=(), label=Path(), patient="") for n in range(116)]
    assert dataset_ceilings(cases, organs_of((1,)), [(1.0, 1.0, 1.0)]) == ((1.0,),)
    assert read == [f"{5 * n:03d}" for n in range(MOST_CASES)]


@pytest.mark.parametrize(
    ("name", "spacing_mm", "finest", "coarsest"),
    [("hippocampus", (1.0, 1.0, 1.0), 1.0, 0.88), ("headneck_ct", (2.5, 3.9, 3.9), 0.98, 0.63)],
)
def test_real_organs_keep_all_at_their_own_spacing_and_less_the_coarser(
    real_data: Path, name: str, spacing_mm: Triple, finest: float, coarsest: float
) -> None:
    dataset = load_dataset(real_data / name)
    z, y, x = spacing_mm
    grids = [(f * z, f * y, f * x) for f in (1.0, 1.5, 2.0)]
    rows = np.array(dataset_ceilings(dataset.cases, dataset.scheme, grids), dtype=float)
    assert (np.diff(rows, axis=1) < 0).all()
    assert rows[:, 0].min() >= finest
    assert rows[:, 2].min() == pytest.approx(coarsest, abs=0.01)


def test_of_cases_labelled_in_part_each_set_of_organs_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(ceiling, "_case_ceilings", lambda work: read.append(work[0].id) or [{1: 1.0}])
    cases = [Case(id=f"{n:03d}", images=(), label=Path(), patient="", labelled=(1,)) for n in range(200)]
    cases += [Case(id=f"{n:03d}", images=(), label=Path(), patient="", labelled=(2,)) for n in range(200, 205)]
    dataset_ceilings(cases, organs_of((1, 2)), [(1.0, 1.0, 1.0)])
    assert sum(name >= "200" for name in read) == 5
    assert MOST_CASES < len(read) <= MOST_CASES + 5


def test_however_many_sets_of_organs_there_are_few_label_maps_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, ...]] = []
    monkeypatch.setattr(ceiling, "_case_ceilings", lambda work: read.append(work[0].labelled) or [{1: 1.0}])
    values = tuple(range(1, 11))
    cases = [
        Case(id=f"{a}-{b}-{n}", images=(), label=Path(), patient="", labelled=(a, b))
        for n in range(20) for a in values for b in values if a < b
    ]  # fmt: skip
    dataset_ceilings(cases, organs_of(values), [(1.0, 1.0, 1.0)])
    assert len(read) <= MOST_PARTLY
    assert all(sum(value in shown for shown in read) >= LEAST_OF_EACH for value in values)
