"""Tests of autoseg.inference.second_stage: the second look, with networks whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made import CT
from two_stages import FIRST, FLOOR, GRID, LIVER, OF_LIVER, OF_VEIN, SEEN, VEIN, ByIntensity, second

from autoseg.errors import VolumeError
from autoseg.imaging.volumes import Volume
from autoseg.inference.cost import Stopwatch
from autoseg.inference.model import Model
from autoseg.inference.second_stage import second_atoms
from autoseg.inference.stage import InferenceOptions, Stage
from autoseg.labels import IGNORED
from autoseg.plan import first_seen


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
    assert asked.looked is not None
    inside = asked.mask.array[asked.looked.box]
    assert (inside == 9).any()
    atoms = np.searchsorted([0, 4, 9], inside)
    np.testing.assert_array_equal(asked.looked.percent.argmax(axis=0), atoms)
    assert model.predict(image).looked is None


def test_the_memory_that_is_predicted_counts_both_stages_and_what_is_kept_between_them() -> None:
    image, model = scan(None), two_stages()
    gib = model.memory_gib(model.prepare(image))
    alone = Model(stages=model.stages[:1], trained_on=frozenset())
    image_bytes = image.array.nbytes
    assert gib > max(alone.memory_gib(alone.prepare(image)), model.stages[1].whole_memory_gib(GRID, image_bytes))
    assert model.memory_gib(model.prepare(image), InferenceOptions(probabilities=True)) > gib


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
