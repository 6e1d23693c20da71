"""Tests of autoseg.data.batches."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from autoseg.data import batches as batches_module
from autoseg.data.batches import Batch, CropLoader, open_batches
from autoseg.data.cache import CachedCase, read_case
from autoseg.data.crops import CaseChooser, choose_deformed, draw_centre
from autoseg.errors import TrainingError
from autoseg.plan import AugmentationPlan, Level, NetworkPlan

PLAN = made.plan(
    seed=5,
    augmentation=AugmentationPlan(
        rotation_deg=20, translation_voxels=2, bspline_voxels=1, scaling=0.1, noise=0.1, contrast=0.1, brightness=0.1
    ),
)


def first(cases: tuple[CachedCase, ...], count: int, start: int = 0, workers: int = 0) -> list[Batch]:
    with open_batches(cases, PLAN, start, workers) as batches:
        return list(islice(batches, count))


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a["keys"] == b["keys"]
        np.testing.assert_array_equal(a["data"], b["data"])
        np.testing.assert_array_equal(a["seg"], b["seg"])


@pytest.fixture
def cases(tmp_path: Path) -> tuple[CachedCase, ...]:
    return made.easy_cases(tmp_path, 5)


@pytest.mark.parametrize("workers", [1, 2])
def test_batch_i_is_the_same_whatever_the_number_of_workers(cases: tuple[CachedCase, ...], workers: int) -> None:
    assert_equal(first(cases, 5, start=1, workers=workers), first(cases, 5, start=1))


def test_batch_i_is_the_same_when_the_stream_begins_with_it(cases: tuple[CachedCase, ...]) -> None:
    assert_equal(first(cases, 3, start=4), first(cases, 7)[4:])


@pytest.mark.parametrize(("share", "deformed"), [(0.25, 6), (0.3, 6), (1.0, 0)])
def test_the_last_batches_of_a_training_are_not_deformed(share: float, deformed: int) -> None:
    augmentation = PLAN.augmentation.model_copy(update={"undeformed_end": share})
    plan = made.plan(iterations=8, augmentation=augmentation)
    assert [all(choose_deformed(plan, index)) for index in range(8)] == [True] * deformed + [False] * (8 - deformed)
    assert not any(choose_deformed(plan, 7))
    assert all(choose_deformed(made.plan(iterations=8, augmentation=PLAN.augmentation), 99))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_share_of_the_crops_is_deformed_drawn_anew_for_each_batch(share: float) -> None:
    plan = made.plan(augmentation=PLAN.augmentation.model_copy(update={"deformed_share": share}), batch_size=5)
    drawn = np.array([choose_deformed(plan, index) for index in range(400)])
    assert drawn.shape == (400, 5)
    assert abs(drawn.mean() - share) < 0.03  # 2000 draws: a deviation of 0.009 at 0.2
    assert np.array_equal(drawn[7], choose_deformed(plan, 7))
    if 0 < share < 1:  # within a batch, and from batch to batch
        assert len({tuple(row) for row in drawn}) > 10


def test_no_batch_is_like_another(cases: tuple[CachedCase, ...]) -> None:
    assert len({batch["data"].tobytes() for batch in first(cases, 8)}) == 8


def test_numpys_global_generator_does_not_matter(cases: tuple[CachedCase, ...]) -> None:
    np.random.seed(1)
    before = first(cases, 2)
    np.random.seed(2)
    assert_equal(first(cases, 2), before)


@dataclass(frozen=True)
class Scan:
    """What `CaseChooser` looks at."""

    id: int
    patient: str


def case_numbers(count: int, batch_size: int, seed: int, index: int) -> list[int]:
    scans = [Scan(n, f"patient {n}") for n in range(count)]
    return [scan.id for scan in CaseChooser(scans, batch_size, seed).cases_of(index)]


def test_a_batch_has_no_two_scans_of_one_patient_and_all_scans_are_used() -> None:
    scans = [Scan(n, f"patient {n // 3}") for n in range(12)]  # four patients, three scans each
    chooser = CaseChooser(scans, 3, 0)
    batches = [chooser.cases_of(index) for index in range(200)]
    assert all(len({scan.patient for scan in batch}) == 3 for batch in batches)
    assert {scan.id for batch in batches for scan in batch} == set(range(12))


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 5), st.integers(0, 20))
def test_every_case_is_drawn_equally_often_in_an_epoch_and_at_most_once_a_batch(
    cases: int, batch: int, seed: int, epoch: int
) -> None:
    per_epoch = max(1, cases // batch)
    drawn = [case_numbers(cases, batch, seed, epoch * per_epoch + n) for n in range(per_epoch)]
    assert all(len(numbers) == batch for numbers in drawn)
    counts = Counter(n for numbers in drawn for n in numbers)
    assert set(counts) <= set(range(cases))
    if cases >= batch:  # a rest smaller than a batch waits for another epoch's order
        assert set(counts.values()) == {1}
        assert cases - len(counts) == cases % batch
    else:
        assert max(counts.values()) - min(counts.values()) <= 1
        assert len(counts) == cases


def chosen_at_once(scans: list[Scan], batch_size: int, seed: int, index: int) -> list[Scan]:
    """The choice as it was before an epoch's order was kept: all of it is drawn for each batch."""
    by_patient: dict[str, list[Scan]] = {}
    for scan in scans:
        by_patient.setdefault(scan.patient, []).append(scan)
    patients = list(by_patient.values())
    rng = np.random.default_rng((seed, index, 1))
    if len(patients) < batch_size:
        repeats = -(-batch_size // len(patients))
        places = [int(n) for _ in range(repeats) for n in rng.permutation(len(patients))][:batch_size]
    else:
        epoch, place = divmod(index, len(patients) // batch_size)
        order = np.random.default_rng((seed, epoch, 2)).permutation(len(patients))
        places = [int(n) for n in order[place * batch_size : (place + 1) * batch_size]]
    return [patients[n][int(rng.integers(len(patients[n])))] for n in places]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20), st.integers(1, 5), st.lists(st.integers(0, 60)))
def test_the_choice_is_that_of_earlier_versions_in_whatever_order_batches_are_made(
    patients: list[int], batch_size: int, indices: list[int]
) -> None:
    scans = [Scan(n, f"patient {patient}") for n, patient in enumerate(patients)]
    chooser = CaseChooser(scans, batch_size, seed=3)
    for index in indices:
        assert chooser.cases_of(index) == chosen_at_once(scans, batch_size, 3, index)


def test_a_batch_costs_the_same_however_many_cases_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[tuple[int, ...]] = []
    generator = np.random.default_rng

    def noted(seed: tuple[int, ...]) -> np.random.Generator:
        seeds.append(seed)
        return generator(seed)

    visited: list[int] = []

    class Visited(list[Scan]):
        def __iter__(self) -> Iterator[Scan]:
            visited.append(len(self))
            return super().__iter__()

    chooser = CaseChooser(Visited(Scan(n, f"patient {n}") for n in range(1000)), 2, 0)
    monkeypatch.setattr(np.random, "default_rng", noted)
    for index in range(600):  # 500 batches are an epoch
        chooser.cases_of(index)
    assert visited == [1000]  # all cases are looked at once
    assert [seed for seed in seeds if seed[2] == 2] == [(0, 0, 2), (0, 1, 2)]  # and put in order once an epoch


def test_over_many_epochs_no_case_is_left_out() -> None:
    counts = Counter(n for index in range(300) for n in case_numbers(7, 3, 0, index))  # 150 epochs of 6 of 7
    assert sorted(counts) == list(range(7))
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_batches_of_one_epoch_differ_from_those_of_the_next_and_of_another_seed() -> None:
    orders = [[case_numbers(30, 3, seed, n) for n in range(a, a + 10)] for seed, a in ((0, 0), (0, 10), (1, 0))]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_with_organ_share_one_every_organ_is_equally_likely_however_small(tmp_path: Path) -> None:
    label = np.zeros((20, 20, 20), np.uint8)
    label[4:16, 4:16, 4:16] = 1  # 1,728 voxels less those of the others
    label[8:10, 8:10, 8:10] = 2  # 8 voxels
    label[12, 12, 12] = 3  # 1 voxel
    case = made.cached_case(tmp_path, "a", np.zeros((1, 20, 20, 20)), label)
    rng = np.random.default_rng(0)
    plan = made.plan(organ_share=1.0, crop_size=(2, 2, 2))
    drawn = Counter(int(label[tuple(int(v) for v in draw_centre(case, plan, rng))]) for _ in range(600))
    assert sorted(drawn) == [1, 2, 3]
    assert chisquare(list(drawn.values())).pvalue > 0.01


def test_with_organ_share_zero_centres_are_uniform_over_where_the_crop_fits(tmp_path: Path) -> None:
    case = made.random_case(tmp_path, (20, 20, 20))
    rng = np.random.default_rng(0)
    plan = made.plan(organ_share=0.0, crop_size=(2, 2, 2))
    centres = np.array([draw_centre(case, plan, rng) for _ in range(400)])
    np.testing.assert_allclose(centres.mean(axis=0), 9.5, atol=0.9)  # the middle; 3 standard errors
    np.testing.assert_allclose(centres.std(axis=0), (20 - 2) / np.sqrt(12), rtol=0.1)


def test_every_slice_of_a_flat_axis_is_drawn_as_often(tmp_path: Path) -> None:
    case = made.random_case(tmp_path, (4, 20, 20))
    levels = [Level(features=(4, 4), kernel=(1, 3, 3), pooling=pooling) for pooling in ((1, 1, 1), (1, 2, 2))]
    network = NetworkPlan(stages=tuple(levels))
    plan = made.plan(organ_share=0.0, crop_size=(1, 4, 4), flat_axis="z", tile_depth=1, network=network)
    rng = np.random.default_rng(0)
    slices, counts = np.unique([draw_centre(case, plan, rng)[0] for _ in range(2000)], return_counts=True)
    assert slices.tolist() == [0, 1, 2, 3]
    assert np.abs(counts - 500).max() < 60  # 3 standard errors


@settings(max_examples=40)
@given(
    st.tuples(*[st.integers(1, 14)] * 3),
    st.tuples(*[st.sampled_from([2, 4, 8, 12])] * 3),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_a_crop_lies_inside_the_volume_or_around_the_middle_of_a_smaller_one(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    crop: tuple[int, int, int],
    share: float,
    seed: int,
) -> None:
    case = made.random_case(tmp_path_factory.mktemp("cache"), shape)
    centre = draw_centre(case, made.plan(organ_share=share, crop_size=crop), np.random.default_rng(seed))
    for middle, size, whole in zip(centre, crop, shape, strict=True):
        low, high = middle - (size - 1) / 2, middle + (size - 1) / 2
        if size >= whole:
            assert (low + high) / 2 == (whole - 1) / 2
        else:
            assert low >= 0
            assert high <= whole - 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_cache_file_stops_training_with_its_name(cases: tuple[CachedCase, ...], workers: int) -> None:
    for case in cases:
        (case.folder / f"{case.id}.image.npy").write_bytes(b"broken")
    with (
        open_batches(cases, PLAN, 0, workers) as batches,
        pytest.raises(TrainingError, match=r"cases case\d, case\d.*case\d\.image\.npy.*run `autoseg preprocess`"),
    ):
        next(batches)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_record_that_is_gone_stops_training_with_its_name(cases: tuple[CachedCase, ...], workers: int) -> None:
    for case in cases:
        (case.folder / f"{case.id}.json").unlink()
    with (
        open_batches(cases, PLAN, 0, workers) as batches,
        pytest.raises(TrainingError, match=r"case\d\.json: cannot be read; run `autoseg preprocess` again"),
    ):
        next(batches)


def test_a_worker_gets_of_each_case_no_more_than_where_it_is(cases: tuple[CachedCase, ...]) -> None:
    many = [replace(cases[0], id=f"case {number}", patient=f"patient {number}") for number in range(1000)]
    sent = [len(pickle.dumps(CropLoader(some, PLAN, 0, 1, (0, 1)))) for some in (many[:500], many)]
    assert (sent[1] - sent[0]) / 500 < 60  # bytes


def test_records_of_a_few_cases_are_held_and_those_of_many_read_again(
    cases: tuple[CachedCase, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(folder: Path, case_id: str) -> CachedCase | None:
        read.append(case_id)
        return read_case(folder, case_id)

    monkeypatch.setattr("autoseg.data.cache.read_case", counted)
    loader = CropLoader(cases, PLAN, 0, 1, (0, 1))
    expected = [loader.generate_train_batch()["requests"] for _ in range(20)]
    assert len(read) == len(cases)
    monkeypatch.setattr(batches_module, "KEPT", 1)
    loader = CropLoader(cases, PLAN, 0, 1, (0, 1))
    assert [loader.generate_train_batch()["requests"] for _ in range(20)] == expected
    assert len(read) > 3 * len(cases)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_sample_of_organ_voxels_stops_training_with_its_name(
    cases: tuple[CachedCase, ...], workers: int
) -> None:
    for case in cases:
        (case.folder / f"{case.id}.organs.npy").write_bytes(b"broken")
    with (
        open_batches(cases, PLAN, 0, workers) as batches,
        pytest.raises(TrainingError, match=r"case\d.*organs\.npy.*run `autoseg preprocess`"),
    ):
        next(batches)


def test_without_cases_there_is_nothing_to_train_on() -> None:
    with pytest.raises(TrainingError, match="no training cases"), open_batches((), PLAN, 0, 0):
        pass
