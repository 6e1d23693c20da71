"""Tests of autoseg.imaging.overlaps: masks that overlap, and the label map that says the same."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autoseg.errors import VolumeError
from autoseg.imaging.overlaps import MOST_SHARED, NamedMask, Overlay, label_map_of, laid_over, overlay
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


def test_background_stays_where_regions_do_not_overlap() -> None:
    labels = (Label(value=1, name="a"), Label(value=2, name="b"))
    scheme = LabelScheme(labels=labels, regions=((1, 2, 3), (1, 2)))
    array, _ = label_map_of(FILE, laid(a=(1, 10, 30), b=(2, 40, 60)), scheme)
    assert counts(array) == {0: 60, 2: 20, 3: 20}
    nested = LabelScheme(
        labels=(Label(value=2, name="whole"), Label(value=3, name="core")), regions=((1, 2, 3), (2, 3))
    )
    assert counts(label_map_of(FILE, laid(whole=(2, 10, 30)), nested)[0]) == {0: 80, 1: 20}


def test_three_regions_in_pairs_are_not_lost_where_a_value_is_of_all_three_only() -> None:
    labels = tuple(Label(value=value, name=name) for value, name in enumerate("abc", start=1))
    scheme = LabelScheme(labels=labels, regions=((1, 4), (2, 4), (3, 4)))
    assert counts(label_map_of(FILE, laid(a=(1, 0, 9), b=(2, 0, 9), c=(3, 0, 9)), scheme)[0]) == {0: 91, 4: 9}
    with pytest.raises(
        VolumeError, match=r"a and b overlap in 9 voxels, and no value lies in both regions and no othe"
    ):
        label_map_of(FILE, laid(a=(1, 0, 9), b=(2, 0, 9)), scheme)


@st.composite
def schemes(draw: st.DrawFn) -> LabelScheme:
    regions = draw(st.lists(st.sets(st.integers(1, 5), min_size=1), min_size=1, max_size=4))
    values = [draw(st.sampled_from(sorted(region))) for region in regions]
    assume(len(set(values)) == len(values))
    labels = tuple(Label(value=value, name=f"organ {value}") for value in values)
    is_disjoint = draw(st.booleans())
    return LabelScheme(labels=labels, regions=None if is_disjoint else tuple(tuple(sorted(one)) for one in regions))


def value_of_voxel(own: set[int], scheme: LabelScheme) -> int | None:
    """Return the value of one voxel in some labels' masks, by the words of label_map_of's docstring."""
    region = {label.value: {*scheme.values_of(label)} for label in scheme.labels}
    last = [label.value for label in scheme.labels if label.value in own][-1:]
    if not last:
        return 0
    fits = []
    for value in scheme.values[1:]:
        of_value = {label for label, values in region.items() if value in values}
        around = of_value - own
        if own <= of_value and all(any(region[inner] < region[outer] for inner in own) for outer in around):
            fits.append((len(of_value), value != last[0], len(fits), value))
    if fits:
        return min(fits)[-1]
    return None if len(own) == 1 else value_of_voxel({*last}, scheme)


@settings(max_examples=200)
@given(schemes(), st.data())
def test_a_label_map_has_in_each_voxel_the_value_of_its_own_masks(scheme: LabelScheme, data: st.DataObject) -> None:
    names = [label.value for label in scheme.labels]
    region = {label.value: scheme.values_of(label) for label in scheme.labels}
    exact = [{name for name in names if value in region[name]} for value in scheme.values]
    voxels = data.draw(st.lists(st.sampled_from(exact) | st.sets(st.sampled_from(names)), min_size=1, max_size=12))
    expected = [value_of_voxel(own, scheme) for own in voxels]
    is_refused = None in expected
    for pair in combinations(names, 2):
        lost = [
            {*pair} <= own and not all(v in region[n] for n in pair) for own, v in zip(voxels, expected, strict=True)
        ]
        is_refused |= sum(lost) > MOST_SHARED * min(sum(name in own for own in voxels) for name in pair)
    masks = [
        NamedMask(name=f"organ {name}", value=name, array=np.array([name in own for own in voxels]).reshape(1, 1, -1))
        for name in names
    ]
    over = overlay(masks, (1, 1, len(voxels)))
    if is_refused:
        with pytest.raises(VolumeError):
            label_map_of(FILE, over, scheme)
    else:
        assert label_map_of(FILE, over, scheme)[0].ravel().tolist() == expected


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
