"""Tests of autoseg.imaging.overlaps: masks that overlap, and the label map that says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoseg.errors import VolumeError
from autoseg.imaging.overlaps import NamedMask, Overlay, label_map_of, laid_over, overlay
from autoseg.labels import Label, LabelScheme

FILE = Path("a.dcm")
TUMOUR = LabelScheme(
    labels=(Label(value=1, name="whole"), Label(value=2, name="core"), Label(value=3, name="enhancing")),
    regions=((1, 2, 3), (2, 3), (3,)),
)
KIDNEYS = LabelScheme(
    labels=(Label(value=1, name="kidney"), Label(value=2, name="tumour"), Label(value=3, name="liver")),
    regions=((1, 2), (2,), (3,)),
)


def laid(**spans: tuple[int, int, int]) -> Overlay:
    """Return masks of value, first voxel and one past the last, in a row of 100 voxels."""
    masks = []
    for name, (value, first, end) in spans.items():
        array = np.zeros((1, 1, 100), bool)
        array[..., first:end] = True
        masks.append(NamedMask(name=name, value=value, array=array))
    return overlay(masks, (1, 1, 100))


def counts(array: np.ndarray) -> dict[int, int]:
    return dict(zip(*(part.tolist() for part in np.unique(array, return_counts=True)), strict=True))


def test_nested_masks_are_the_values_of_their_regions() -> None:
    array, remarks = label_map_of(FILE, laid(core=(2, 20, 60), whole=(1, 10, 90), enhancing=(3, 30, 40)), TUMOUR)
    assert counts(array) == {0: 20, 1: 40, 2: 30, 3: 10}
    assert remarks == ()


def test_masks_of_one_label_are_joined() -> None:
    array, remarks = label_map_of(FILE, laid(left=(3, 0, 30), right=(3, 20, 50), kidney=(1, 60, 70)), KIDNEYS)
    assert counts(array) == {0: 40, 1: 10, 3: 50}
    assert remarks == ()


def test_a_region_beyond_the_one_that_holds_it_counts_as_both_and_is_told() -> None:
    array, (remark,) = label_map_of(FILE, laid(kidney=(1, 10, 50), Tumor=(2, 45, 60)), KIDNEYS)
    assert counts(array) == {0: 50, 1: 35, 2: 15}
    assert remark.found == (
        "regions lie beyond those that hold them: Tumor outside kidney in 10 voxels; these voxels count as both"
    )


def test_regions_that_no_value_is_in_both_of_may_share_borders_only() -> None:
    array, (remark,) = label_map_of(FILE, laid(kidney=(1, 10, 50), liver=(3, 48, 99)), KIDNEYS)
    assert counts(array) == {0: 11, 1: 38, 3: 51}
    assert remark.found == "borders overlap: kidney and liver in 2 voxels; the region painted last has them"
    with pytest.raises(
        VolumeError, match=r"^a\.dcm: kidney and liver overlap in 10 voxels, and no value lies in both regions; correct"
    ):
        label_map_of(FILE, laid(kidney=(1, 10, 50), liver=(3, 40, 99)), KIDNEYS)


def test_a_region_without_value_for_what_lies_in_no_part_of_it_is_refused() -> None:
    parts = LabelScheme(
        labels=(Label(value=1, name="brain"), Label(value=2, name="grey"), Label(value=3, name="white")),
        regions=((1, 2, 3), (2,), (3,)),
    )
    assert counts(label_map_of(FILE, laid(brain=(1, 0, 50), grey=(2, 0, 9), white=(3, 9, 40)), parts)[0])[1] == 10
    whole_only = LabelScheme(labels=parts.labels[1:], regions=((2, 3), (3,)))
    array, _ = label_map_of(FILE, laid(grey=(2, 0, 50), white=(3, 0, 20)), whole_only)
    assert counts(array) == {0: 50, 2: 30, 3: 20}
    halves = LabelScheme(
        labels=(Label(value=2, name="brain"), Label(value=1, name="left"), Label(value=3, name="right")),
        regions=((1, 2, 3), (1, 2), (3,)),
    )
    with pytest.raises(VolumeError, match="5 voxels of brain lie in no region within it, and the regions have no"):
        label_map_of(FILE, laid(brain=(2, 0, 50), left=(1, 0, 25), right=(3, 25, 45)), halves)


def test_two_overlays_are_as_if_their_masks_were_laid_over_each_other_at_once() -> None:
    spans = {"whole": (1, 10, 90), "core": (2, 20, 60), "enhancing": (3, 30, 40)}
    both = laid_over(laid(core=spans["core"], enhancing=spans["enhancing"]), laid(whole=spans["whole"]))
    at_once = laid(**spans)
    for x in range(100):
        assert both.labels_at(int(both.codes[0, 0, x])) == at_once.labels_at(int(at_once.codes[0, 0, x]))


def test_a_mask_may_cover_some_slices_only() -> None:
    mask = NamedMask(name="a", value=7, array=np.ones((2, 1, 1), bool), start=3)
    assert overlay([mask], (6, 1, 1)).codes.ravel().tolist() == [0, 0, 0, 7, 7, 0]
