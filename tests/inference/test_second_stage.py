"""Tests of autoseg.inference.second_stage: the second look, with networks whose answers are known."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from made import CT
from torch import nn
from two_stages import FIRST, FLOOR, GRID, LIVER, OF_LIVER, OF_VEIN, SEEN, VEIN, ByIntensity, second

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import Volume, write_array
from autoseg.inference import second_boxes
from autoseg.inference.cost import Stopwatch
from autoseg.inference.inputs import Input
from autoseg.inference.model import Model
from autoseg.inference.predict import predict
from autoseg.inference.second_stage import _reaches_out, second_atoms
from autoseg.inference.stage import InferenceOptions, Stage
from autoseg.inference.statistics import Statistics
from autoseg.inference.upsample import Upsampler
from autoseg.labels import IGNORED
from autoseg.plan import Intensity, first_seen


def two_stages(**changes: Any) -> Model:
    first = Stage(networks=(ByIntensity(-2.0, 1.0),), plan=FIRST)
    return Model(stages=(first, Stage(networks=(ByIntensity(2.0),), plan=second(**changes))), trained_on=frozenset())


def scan(vein: tuple[slice, slice, slice] | None, liver: int = OF_LIVER) -> Volume:
    """Return a liver of 16 x 16 x 16 voxels in the middle, and a vein."""
    array = np.full((1, *GRID.shape), FLOOR, np.int16)
    array[0, :, 8:24, 8:24] = liver
    if vein is not None:
        array[0][vein] = OF_VEIN
    return Volume(array=array, grid=GRID, stored=GRID)


def test_the_second_look_is_pasted_back_to_the_voxel_and_the_other_organs_stay() -> None:
    vein = (slice(2, 14), slice(13, 17), slice(14, 18))  # not on the coarse grid's edges
    image, model = scan(vein), two_stages()
    alone = Model(stages=model.stages[:1], trained_on=frozenset()).predict(image).mask.array
    mask = model.predict(image).mask.array
    np.testing.assert_array_equal(mask == 9, image.array[0] == OF_VEIN)
    assert (alone == 9).sum() != (mask == 9).sum()
    far = np.ones(GRID.shape, bool)
    far[:, 6:24, 6:26] = False
    np.testing.assert_array_equal(mask[far], alone[far])
    taken = (alone == 9) & (mask != 9)
    assert taken.sum() > 20
    assert set(np.unique(mask[taken])) == {4}  # within the liver: what the first stage thinks next best, not background


def test_what_the_first_stage_does_not_find_is_said_and_its_mask_stays() -> None:
    image, model = scan(None), two_stages()
    prediction = model.predict(image)
    assert any("finds nothing of vein" in sentence for sentence in prediction.unlike)
    alone = Model(stages=model.stages[:1], trained_on=frozenset()).predict(image)
    np.testing.assert_array_equal(prediction.mask.array, alone.mask.array)
    assert not alone.unlike


@pytest.mark.parametrize("seen_to", [16, 8])
def test_a_box_is_widened_until_the_organ_is_whole_also_at_the_images_border(seen_to: int) -> None:
    image = scan((slice(0, 16), slice(12, 16), slice(12, 16)))
    image.array[0, seen_to:, 12:16, 12:16] = 220  # which the first stage takes for liver: (220 - 100) / 50 = 2.4
    model = two_stages()
    blind = Stage(networks=(ByIntensity(-2.0, 3.0),), plan=FIRST)
    looked = Model(stages=(blind, model.stages[1]), trained_on=frozenset()).predict(image)
    np.testing.assert_array_equal(looked.mask.array == 9, image.array[0] > 200)
    assert not looked.unlike
    assert [organ.at_border for organ in looked.organs if organ.name == "vein"] == [True]


@pytest.mark.parametrize(("thick", "widened"), [(1, False), (3, True)])
def test_a_speck_at_the_side_of_a_box_does_not_widen_it(thick: int, widened: bool) -> None:
    vein = (slice(2, 14), slice(8, 16), slice(8, 16))  # 768 voxels, of which a hundredth are 7.68
    model = Model(
        stages=(Stage(networks=(ByIntensity(-2.0, 3.0),), plan=FIRST), two_stages().stages[1]), trained_on=frozenset()
    )
    asked = InferenceOptions(probabilities=True)
    (before,) = model.predict(scan(vein), asked).looked
    side = before.box[1].stop
    image = scan(vein)
    image.array[0, 4 : 4 + thick, side - 2 : side, 8 : 8 + thick] = 220  # which the first stage takes for liver
    looked = model.predict(image, asked)
    assert (looked.looked[0].box != before.box, "widened" in looked.notes[0]) == (widened, widened)
    np.testing.assert_array_equal(looked.mask.array == 9, image.array[0] > 200)
    assert not looked.unlike


@pytest.mark.parametrize(
    ("pieces", "reaches"),
    [
        ([(12, 3)], False),  # ends in the slab
        ([(20, 3)], True),  # goes through it
        ([(12, 3)] * 6, True),  # together they are more than a hundredth
        ([], False),
    ],
)
def test_pieces_at_a_side_reach_out_by_their_depth_or_all_together(
    pieces: list[tuple[int, int]], *, reaches: bool
) -> None:
    organ = np.zeros((40, 20, 20), bool)
    organ[24:, :, :20] = True  # 6400 voxels, none near the side
    for place, (depth, width) in enumerate(pieces):
        organ[:depth, 3 * place : 3 * place + 1, :width] = True
    assert _reaches_out(organ[:16], 0.01 * organ.sum()) == reaches


class Failing(ByIntensity):
    """Fails with any image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raise VolumeError("cannot be seen")


def test_an_image_that_fails_in_the_first_stage_costs_no_other_and_both_stages_have_their_time() -> None:
    image, model, watch = scan((slice(2, 14), slice(13, 17), slice(14, 18))), two_stages(), Stopwatch()
    failing = replace(model, stages=(Stage(networks=(Failing(0.0, 1.0),), plan=FIRST), model.stages[1]))
    with pytest.raises(VolumeError, match="cannot be seen"):
        failing.predict(image, watch=watch)
    _, of_second = watch.by_stage
    assert of_second == 0.0
    np.testing.assert_array_equal(model.predict(image, watch=watch).mask.array, model.predict(image).mask.array)
    assert min(watch.by_stage) > 0


def test_an_organ_that_reaches_out_of_every_box_is_told() -> None:
    image = scan((slice(4, 8), slice(12, 16), slice(0, 4)))
    image.array[0, 4:8, 12:16, 4:] = 220  # long, and all of it but the start unseen by the first stage
    blind = Stage(networks=(ByIntensity(-2.0, 3.0),), plan=FIRST)
    model = Model(stages=(blind, two_stages(margin_mm=2.0).stages[1]), trained_on=frozenset())
    prediction = model.predict(image)
    assert any("reach out of the second stage's box" in sentence for sentence in prediction.unlike)


def test_what_is_expected_of_an_organ_comes_from_the_stage_that_drew_it() -> None:
    image = scan((slice(2, 14), slice(13, 17), slice(14, 18)))
    model = two_stages()
    alone = Model(stages=model.stages[:1], trained_on=frozenset()).predict(image).organs
    both = model.predict(image).organs
    assert both[0].expected_dice == alone[0].expected_dice
    assert both[1].expected_dice != alone[1].expected_dice


def test_probabilities_of_both_stages_change_no_mask_and_agree_with_it() -> None:
    image, model = scan((slice(2, 14), slice(13, 17), slice(14, 18))), two_stages()
    asked = model.predict(image, InferenceOptions(probabilities=True))
    np.testing.assert_array_equal(asked.mask.array, model.predict(image).mask.array)
    (looked,) = asked.looked
    inside = asked.mask.array[looked.box]
    assert (inside == 9).any()
    atoms = np.searchsorted([0, 4, 9], inside)
    np.testing.assert_array_equal(looked.percent.argmax(axis=0), atoms)
    assert not model.predict(image).looked


def test_the_memory_that_is_predicted_counts_both_stages_and_what_is_kept_between_them() -> None:
    image, model = scan(None), two_stages()
    gib = model.memory_gib(model.prepare(image))
    alone = Model(stages=model.stages[:1], trained_on=frozenset())
    image_bytes = image.array.nbytes
    assert gib > max(alone.memory_gib(alone.prepare(image)), model.stages[1].whole_memory_gib(GRID, image_bytes))
    assert model.memory_gib(model.prepare(image), InferenceOptions(probabilities=True)) > gib


@pytest.mark.parametrize("options", [InferenceOptions(), InferenceOptions(probabilities=True)])
def test_what_the_first_stage_leaves_is_counted_in_the_memory_of_the_second(options: InferenceOptions) -> None:
    image, model = scan(None), two_stages()
    prepared = model.prepare(image)
    # the image, two masks, normalised 4 x 8 x 8 voxels, three probabilities of them and one in float32
    voxels, working = 16 * 32 * 32, 4 * 8 * 8
    beside = 2 * voxels + 2 * voxels + (4 + 3 * 2 + 4) * working + 0.1 * 2**30
    beside += 3 * voxels if options.probabilities else 0  # in percent, of the first stage's three classes
    expected = model.stages[1].whole_memory_gib(GRID, image.array.nbytes, beside, options)
    assert model.memory_gib(prepared, options) == pytest.approx(expected)


def test_an_organ_that_the_first_stage_misses_among_others_is_told() -> None:
    labels = (LIVER, VEIN)
    channels = ("CT", *map(first_seen, labels))
    finer = second(labels=labels, channels=channels, intensity=(CT, SEEN, SEEN))
    stages = (Stage(networks=(ByIntensity(-2.0, 1.0),), plan=plan) for plan in (FIRST, finer))
    model = Model(stages=tuple(stages), trained_on=frozenset())
    (sentence,) = model.predict(scan(None)).unlike
    assert sentence.startswith("the first stage finds nothing of vein, so the second looked around the others alone")
    assert not model.predict(scan((slice(2, 14), slice(13, 17), slice(14, 18)))).unlike


def test_other_organs_are_background_to_a_second_stage_and_the_unknown_stays_unknown() -> None:
    atoms = np.array([[[0, 1, 2, 3, IGNORED]]], np.uint8)
    np.testing.assert_array_equal(second_atoms(atoms, (3, 1)), [[[0, 2, 0, 1, IGNORED]]])


UNSEEN, ONLY_FIRST = 220, 180  # HU: vein to the second stage alone, where the first is blind for it; to the first alone
LARGE = Grid(shape=(16, 64, 64), spacing_mm=(2.0, 2.0, 2.0))
LONG = Grid(shape=(16, 32, 64), spacing_mm=(2.0, 2.0, 2.0))
NEAR, FAR = (slice(4, 12), slice(4, 12), slice(4, 12)), (slice(4, 12), slice(52, 60), slice(52, 60))
Places = tuple[tuple[slice, slice, slice], int]


def image_of(grid: Grid, around: int, *places: Places) -> Volume:
    """Return an image of some intensity, with others in places."""
    array = np.full((1, *grid.shape), around, np.int16)
    for place, intensity in places:
        array[0][place] = intensity
    return Volume(array=array, grid=grid, stored=grid)


def blind(network: nn.Module, later: Stage) -> Model:
    """Return two stages of which the first sees less."""
    return Model(stages=(Stage(networks=(network,), plan=FIRST), later), trained_on=frozenset())


def test_organs_far_apart_are_looked_at_in_two_boxes_with_the_mask_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = (LIVER, VEIN)
    finer = second(labels=labels, channels=("CT", *map(first_seen, labels)), intensity=(CT, SEEN, SEEN))
    model = blind(ByIntensity(-2.0, 1.0), Stage(networks=(ByIntensity(-2.0, 1.0),), plan=finer))
    image = image_of(LARGE, FLOOR, (NEAR, OF_LIVER), (FAR, OF_VEIN))
    asked = InferenceOptions(probabilities=True)
    apart = model.predict(image, asked)
    assert apart.notes == ("the second stage looked at 16% of the image, in 2 boxes",)  # of 16 x 18 x 18
    np.testing.assert_array_equal(apart.mask.array, 4 * (image.array[0] == OF_LIVER) + 9 * (image.array[0] == OF_VEIN))
    monkeypatch.setattr(second_boxes, "WORTH", 0.0)
    one = model.predict(image, asked)
    assert "in one box" in one.notes[0]
    np.testing.assert_array_equal(apart.mask.array, one.mask.array)
    assert [organ.expected_dice for organ in apart.organs] == pytest.approx([o.expected_dice for o in one.organs])
    for look in apart.looked:
        np.testing.assert_array_equal(look.percent, one.looked[0].percent[:, *look.box])


def test_a_box_shows_no_less_than_a_crop_of_the_training_did() -> None:
    labels = (LIVER, VEIN)
    fine = {"spacing_mm": (1.0, 1.0, 1.0), "crop_size": (16, 48, 48)}  # of the image's voxels of 2 mm 8 x 24 x 24
    finer = second(labels=labels, channels=("CT", *map(first_seen, labels)), intensity=(CT, SEEN, SEEN), **fine)
    model = blind(ByIntensity(-2.0, 1.0), Stage(networks=(ByIntensity(-2.0, 1.0),), plan=finer))
    image = image_of(LARGE, FLOOR, (NEAR, OF_LIVER), (FAR, OF_VEIN))
    looked = model.predict(image, InferenceOptions(probabilities=True)).looked
    first, last = slice(0, 24), slice(40, 64)  # 18 voxels around the organ otherwise
    assert [look.box for look in looked] == [(slice(0, 16), first, first), (slice(0, 16), last, last)]


def test_an_image_that_is_scaled_by_itself_has_one_box_with_one_scale() -> None:
    labels = (LIVER, VEIN)
    own = Intensity(kind="per-image", low=0.5, high=99.5)
    finer = second(labels=labels, channels=("MR", *map(first_seen, labels)), intensity=(own, SEEN, SEEN))
    model = blind(ByIntensity(-2.0, 1.0), Stage(networks=(ByIntensity(1.0, 4.0),), plan=finer))
    prediction = model.predict(image_of(LARGE, FLOOR, (NEAR, OF_LIVER), (FAR, OF_VEIN)))
    assert prediction.notes == ("the second stage looked at 100% of the image, in one box",)


def test_what_a_box_gave_is_let_go_before_a_wider_one_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    place = (slice(0, 4), slice(4, 8), slice(4, 8))
    image = image_of(LONG, OF_LIVER, (place, OF_VEIN), ((slice(4, 16), *place[1:]), UNSEEN))
    results: list[weakref.ref[Upsampler]] = []
    alive: list[int] = []
    infer = Stage.infer

    def spy(stage: Stage, *args: Any) -> Upsampler:
        gc.collect()
        alive.append(sum(one() is not None for one in results))
        result = infer(stage, *args)
        results.extend([weakref.ref(result)] if stage.plan.margin_mm else [])
        return result

    monkeypatch.setattr(Stage, "infer", spy)
    looked = blind(ByIntensity(-2.0, 3.0), two_stages().stages[1]).predict(image)
    assert "widened" in looked.notes[0]
    assert len(alive) > 2
    assert set(alive) == {0}


def test_a_false_piece_far_away_is_looked_at_in_a_box_of_its_own_and_taken_away() -> None:
    large, stray = (slice(0, 12), slice(4, 12), slice(4, 12)), (slice(8, 12), slice(56, 60), slice(56, 60))
    image, model = image_of(LARGE, OF_LIVER, (large, OF_VEIN), (stray, ONLY_FIRST)), two_stages()
    alone = Model(stages=model.stages[:1], trained_on=frozenset()).predict(image)
    assert (alone.mask.array[stray] == 9).any()
    both = model.predict(image)
    np.testing.assert_array_equal(both.mask.array == 9, image.array[0] == OF_VEIN)
    assert both.notes == ("the second stage looked at 12% of the image, in 2 boxes",)  # not in all of it
    assert not both.unlike


def test_what_joins_two_far_pieces_is_found_by_widening_both_boxes_until_they_meet() -> None:
    thick, tip = (slice(4, 12), slice(8, 24), slice(0, 16)), (slice(8, 12), slice(12, 16), slice(52, 56))
    between = (slice(8, 12), slice(12, 16), slice(16, 52))
    image = image_of(LONG, OF_LIVER, (thick, OF_VEIN), (tip, OF_VEIN), (between, UNSEEN))
    looked = blind(ByIntensity(-2.0, 3.0), two_stages().stages[1]).predict(image)
    np.testing.assert_array_equal(looked.mask.array == 9, image.array[0] > 200)
    # 16 x 28 x 22 voxels and 14 x 16 x 16, which meet after 2, 4 and 8 voxels more
    widened = "widened 3 times, as organs reached out"
    assert looked.notes == (f"the second stage looked at 85% of the image, in one box, {widened}",)
    assert not looked.unlike


class Doubting(ByIntensity):
    """Gives what is UNSEEN to the vein with a probability of 0.4, to the liver with one of 0.6."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        doubtful = (image[:, 0, None] - (UNSEEN - 100) / 50).abs() < 0.1
        odds = torch.tensor((1e-6, 0.6, 0.4)).log()[None, :, None, None, None]
        return torch.where(doubtful, odds, super().forward(image))


def test_half_an_organ_that_the_first_stage_only_suspects_elsewhere_is_expected_to_be_half_right() -> None:
    model = blind(Doubting(-2.0, 3.0), two_stages().stages[1])
    whole = model.predict(image_of(LARGE, OF_LIVER, (NEAR, OF_VEIN)))
    half = model.predict(image_of(LARGE, OF_LIVER, (NEAR, OF_VEIN), (FAR, UNSEEN)))
    np.testing.assert_array_equal(half.mask.array == 9, whole.mask.array == 9)  # both in a box around the one half
    of_whole, of_half = (prediction.organs[1].expected_dice for prediction in (whole, half))
    assert of_whole == pytest.approx(1.0, abs=1e-3)
    assert of_half == pytest.approx(2 / (1 + 1.4), abs=1e-3)  # of as many voxels elsewhere, 0.4 each


@pytest.mark.parametrize(
    ("places", "doubt"),
    [
        ((), "the first stage finds nothing of vein"),
        ((((slice(4, 8), slice(12, 16), slice(0, 4)), OF_VEIN), ((slice(4, 8), slice(12, 16), slice(4, 60)), UNSEEN)),
         "vein: reach out of the second stage's box"),
    ],
)  # fmt: skip
def test_what_a_second_look_misses_is_told_on_the_terminal_and_in_the_table(
    places: Sequence[Places], doubt: str, tmp_path: Path
) -> None:
    write_array(tmp_path / "a.nii.gz", image_of(LONG, OF_LIVER, *places).array[0], LONG)
    job = Input(name="a", images=(tmp_path / "a.nii.gz",), out=tmp_path / "out.nii.gz")
    statistics, lines = Statistics(tmp_path / "predictions.csv"), list[str]()
    model = blind(ByIntensity(-2.0, 3.0), two_stages().stages[1])
    predict(model, (job,), statistics, tell=lines.append)
    (line,) = statistics.look_at_first()
    assert doubt in line
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert table["unlike_training"].str.contains(doubt).all()
    assert "GiB of memory" in lines[0]
    assert [line.startswith("a: the second stage looked at") for line in lines[1:]] == [True] * bool(places)
