"""Tests of autoseg.labels: disjoint organs, overlapping regions, and values to ignore."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.errors import VolumeError
from autoseg.labels import IGNORED, Label, LabelScheme
from autoseg.metrics.overlap import dice

LIVER, SPLEEN = Label(value=5, name="liver"), Label(value=2, name="spleen")
ORGANS = LabelScheme(labels=(LIVER, SPLEEN))
# nnU-Net's form for BraTS: "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "regions_class_order": [1, 2, 3]
WHOLE, CORE, ENHANCING = (Label(value=n, name=name) for n, name in ((1, "whole"), (2, "core"), (3, "enhancing")))
TUMOUR = LabelScheme(labels=(WHOLE, CORE, ENHANCING), regions=((1, 2, 3), (2, 3), (3,)))
SPARSE = LabelScheme(labels=(LIVER, SPLEEN), ignored=9)

values_of_organs = st.lists(st.integers(1, 700), min_size=1, max_size=12, unique=True)
seeds = st.integers(0, 2**32 - 1)


def disjoint(values: list[int], ignored: int | None = None) -> LabelScheme:
    return LabelScheme(labels=tuple(Label(value=v, name=f"organ {v}") for v in values), ignored=ignored)


def map_of(values: tuple[int, ...], seed: int, shape: tuple[int, ...] = (3, 4, 5)) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array(values), shape)


def truth_as_probabilities(scheme: LabelScheme, atoms: np.ndarray) -> torch.Tensor:
    """Return what a perfect network says (classes, Z, Y, X): 1 where a voxel is in a class."""
    return torch.from_numpy(scheme.membership[atoms].astype(np.float32)).permute(3, 0, 1, 2)


def test_organs_are_classes_in_the_plans_order_after_background() -> None:
    assert ORGANS.classes == 3
    assert ORGANS.organs == {1: LIVER, 2: SPLEEN}
    assert ORGANS.names == {5: "liver", 2: "spleen"}
    assert ORGANS.values == (0, 5, 2)
    assert not ORGANS.overlapping


def test_label_values_become_atoms_in_the_plans_order_and_values_again() -> None:
    atoms = ORGANS.encode(np.array([[0, 5, 2]], dtype=np.int32), "a")
    assert (atoms.tolist(), atoms.dtype) == ([[0, 1, 2]], np.uint8)
    assert ORGANS.decode(atoms).tolist() == [[0, 5, 2]]


@pytest.mark.parametrize("values", [[0, 7], [-1, 5], [300, 0], [1, 2]])
def test_a_label_value_that_the_plan_does_not_know_is_named_with_its_case(values: list[int]) -> None:
    (unknown,) = set(values) - {0, 5, 2}
    with pytest.raises(VolumeError) as error:
        ORGANS.encode(np.array(values), "case7")
    message = f"case7: label values [{unknown}] are not in the plan; correct the label or dataset.json"
    assert str(error.value) == message


def test_an_unknown_value_can_be_taken_as_background() -> None:
    assert ORGANS.encode_known(np.array([-3, 0, 1, 2, 5, 6, 70000])).tolist() == [0, 0, 0, 2, 1, 0, 0]
    assert ORGANS.encode_known(np.zeros((0, 2), dtype=np.uint8)).shape == (0, 2)


def test_masks_need_no_copy_where_atoms_are_values_and_else_the_smallest_type() -> None:
    atoms = np.array([0, 1, 2], dtype=np.uint8)
    assert disjoint([1, 2]).decode(atoms) is atoms
    assert disjoint([2, 255]).decode(atoms).dtype == np.uint8
    wide = disjoint([2, 256]).decode(atoms)
    assert (wide.tolist(), wide.dtype) == ([0, 2, 256], np.uint16)


@given(values_of_organs, seeds)
def test_a_label_map_of_disjoint_organs_comes_back_from_atoms_and_from_perfect_probabilities(
    values: list[int], seed: int
) -> None:
    scheme = disjoint(values)
    label_map = map_of((0, *values), seed)
    atoms = scheme.encode(label_map, "a")
    np.testing.assert_array_equal(scheme.decode(atoms), label_map)
    np.testing.assert_array_equal(scheme.membership, np.eye(len(values) + 1, dtype=bool))
    np.testing.assert_array_equal(scheme.decide(truth_as_probabilities(scheme, atoms)), atoms)
    for index, organ in scheme.organs.items():
        np.testing.assert_array_equal(scheme.class_mask(atoms, index), label_map == organ.value)
        np.testing.assert_array_equal(scheme.mask(label_map, organ), label_map == organ.value)


def test_the_most_probable_class_wins_and_of_equal_ones_the_lowest() -> None:
    probabilities = torch.tensor([[0.4, 0.3, 0.2, 0.0], [0.4, 0.3, 0.2, 0.5], [0.2, 0.4, 0.6, 0.5]])
    assert ORGANS.decide(probabilities).tolist() == [0, 2, 2, 1]


@given(st.integers(1, 9), seeds, st.booleans())
@settings(max_examples=50)
def test_where_the_classes_lie_in_memory_changes_nothing(organs: int, seed: int, overlapping: bool) -> None:
    labels = disjoint(list(range(1, organs + 1))).labels
    regions = tuple(tuple(range(n, organs + 1)) for n in range(1, organs + 1)) if overlapping else None
    scheme = LabelScheme(labels=labels, regions=regions)
    torch.manual_seed(seed)
    first = torch.randint(0, 4, (scheme.classes, 3, 4, 5)) / 4  # many ties
    last = first.permute(1, 2, 3, 0).contiguous()
    atoms = scheme.decide(first)
    assert atoms.dtype == torch.uint8
    assert torch.equal(atoms, scheme.decide(last, dim=-1))
    assert torch.equal(atoms, scheme.decide(last.permute(3, 0, 1, 2)))
    if not overlapping:
        assert torch.equal(atoms.long(), first.argmax(dim=0))


def test_regions_are_the_classes_and_background_is_none() -> None:
    assert TUMOUR.classes == 3
    assert TUMOUR.organs == {0: WHOLE, 1: CORE, 2: ENHANCING}
    assert TUMOUR.values == (0, 1, 2, 3)
    np.testing.assert_array_equal(TUMOUR.membership, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])


def test_atoms_of_organs_are_one_each_where_they_are_disjoint_and_several_in_regions() -> None:
    assert ORGANS.atoms_of == {1: (1,), 2: (2,)}
    assert TUMOUR.atoms_of == {0: (1, 2, 3), 1: (2, 3), 2: (3,)}
    assert SPARSE.atoms_of == ORGANS.atoms_of


def test_voxels_are_counted_in_every_organ_that_they_belong_to() -> None:
    atoms = np.array([[0, 1, 1], [2, 3, 3]], dtype=np.uint8)
    assert TUMOUR.voxels(atoms) == {0: 5, 1: 3, 2: 2}
    assert ORGANS.voxels(atoms[0]) == {1: 2, 2: 0}
    assert SPARSE.voxels(np.array([IGNORED, 2], dtype=np.uint8)) == {1: 0, 2: 1}


@given(seeds, st.booleans())
def test_values_are_summed_over_the_voxels_of_their_class(seed: int, overlapping: bool) -> None:
    scheme = TUMOUR if overlapping else ORGANS
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.randint(0, len(scheme.values), (50,), generator=generator).byte()
    values = torch.randint(0, 100, (50, scheme.classes), generator=generator).float()
    sums, voxels = scheme.sums_inside(values, atoms)
    for index in range(scheme.classes):
        inside = scheme.class_mask(atoms.numpy(), index)
        assert (sums[index], voxels[index]) == (values[:, index].numpy()[inside].sum(), inside.sum())


def test_regions_are_painted_in_their_order_over_one_another() -> None:
    # only whole, whole and core, all three, none, core without whole, and just one half
    whole, core = [0.9, 0.9, 0.9, 0.1, 0.2, 0.5], [0.1, 0.8, 0.8, 0.2, 0.7, 0.5]
    probabilities = torch.tensor([whole, core, [0.1, 0.2, 0.6, 0.3, 0.1, 0.5]])
    assert TUMOUR.decide(probabilities).tolist() == [1, 2, 3, 0, 2, 0]
    turned = LabelScheme(labels=TUMOUR.labels[::-1], regions=(TUMOUR.regions or ())[::-1])  # whole over all
    assert turned.decode(turned.decide(probabilities.flip(0)).numpy()).tolist() == [1, 1, 1, 0, 2, 0]


def test_a_region_is_painted_with_its_own_value_whatever_the_first_of_it_is() -> None:
    kidney, tumour = Label(value=1, name="kidney with tumour"), Label(value=7, name="tumour")
    scheme = LabelScheme(labels=(kidney, tumour), regions=((7, 1), (7,)))
    assert scheme.values == (0, 7, 1)
    label_map = np.array([0, 1, 7])
    atoms = scheme.encode(label_map, "a")
    assert atoms.tolist() == [0, 2, 1]
    assert (scheme.values_of(kidney), scheme.values_of(tumour)) == ((7, 1), (7,))
    assert scheme.mask(label_map, kidney).tolist() == [False, True, True]
    assert scheme.class_mask(atoms, 0).tolist() == [False, True, True]
    assert scheme.class_mask(atoms, 1).tolist() == [False, False, True]
    painted = scheme.decide(torch.tensor([[0.1, 0.9, 0.9], [0.1, 0.1, 0.9]])).numpy()
    assert scheme.decode(painted).tolist() == [0, 1, 7]


@given(values_of_organs, seeds)
def test_nested_regions_come_back_voxel_for_voxel_from_perfect_probabilities(values: list[int], seed: int) -> None:
    labels = tuple(Label(value=v, name=f"region {v}") for v in values)
    scheme = LabelScheme(labels=labels, regions=tuple(tuple(values[n:]) for n in range(len(values))))
    label_map = map_of((0, *values), seed)
    atoms = scheme.encode(label_map, "a")
    painted = scheme.decide(truth_as_probabilities(scheme, atoms)).numpy()
    np.testing.assert_array_equal(scheme.decode(painted), label_map)
    for index, (label, region) in enumerate(zip(labels, scheme.regions or (), strict=True)):
        np.testing.assert_array_equal(scheme.class_mask(atoms, index), np.isin(label_map, region))
        np.testing.assert_array_equal(scheme.mask(label_map, label), np.isin(label_map, region))


@given(st.lists(st.sets(st.integers(1, 6)), min_size=1, max_size=6))
def test_regions_of_any_overlap_have_the_voxels_of_their_values(others: list[set[int]]) -> None:
    regions = [{value} | more for value, more in enumerate(others, start=1)]
    labels = tuple(Label(value=value, name=f"region {value}") for value in range(1, len(others) + 1))
    scheme = LabelScheme(labels=labels, regions=tuple(tuple(sorted(region)) for region in regions))
    label_map = map_of(scheme.values, 0)
    belongs = scheme.membership[scheme.encode(label_map, "a")]
    np.testing.assert_array_equal(belongs, np.stack([np.isin(label_map, list(region)) for region in regions], axis=-1))


def test_the_ignored_value_is_an_atom_of_no_class_and_comes_back() -> None:
    label_map = np.array([0, 5, 9, 2])
    atoms = SPARSE.encode(label_map, "a")
    assert atoms.tolist() == [0, 1, IGNORED, 2]
    assert SPARSE.known(atoms).tolist() == [True, True, False, True]
    assert SPARSE.membership[atoms].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert SPARSE.decode(atoms).tolist() == [0, 5, 9, 2]
    assert (SPARSE.classes, SPARSE.values, SPARSE.names) == (ORGANS.classes, ORGANS.values, ORGANS.names)


def test_without_an_ignored_value_its_number_is_as_unknown_as_any() -> None:
    assert ORGANS.known(ORGANS.encode(np.array([0, 5, 2]), "a")).all()
    with pytest.raises(VolumeError, match=r"\[9\]"):
        ORGANS.encode(np.array([0, 5, 9]), "a")


@given(values_of_organs, seeds)
def test_label_maps_with_an_ignored_value_come_back(values: list[int], seed: int) -> None:
    scheme = disjoint(values, ignored=701)
    label_map = map_of((0, *values, 701), seed)
    atoms = scheme.encode(label_map, "a")
    np.testing.assert_array_equal(scheme.decode(atoms), label_map)
    np.testing.assert_array_equal(scheme.known(atoms), label_map != 701)
    np.testing.assert_array_equal(scheme.without(atoms, ()), atoms)


def test_organs_that_a_label_map_does_not_show_are_hidden_classes() -> None:
    assert ORGANS.hidden({5}.__contains__) == (2,)
    assert ORGANS.hidden(lambda _: True) == ()
    assert ORGANS.shown((2,)) == {1: LIVER}
    assert ORGANS.without(np.array([0, 1, 2], dtype=np.uint8), (2,)).tolist() == [0, 1, 0]
    assert ORGANS.without(np.array([0, 1, 2], dtype=np.uint8), (1, 2)).tolist() == [0, 0, 0]


def test_a_region_is_shown_where_all_of_its_values_are() -> None:
    assert TUMOUR.hidden({2, 3}.__contains__) == (0,)
    # value 1 is in the hidden region alone, values 2 and 3 are in shown ones too
    assert TUMOUR.without(np.array([0, 1, 2, 3], dtype=np.uint8), (0,)).tolist() == [0, 0, 2, 3]


def test_what_is_ignored_stays_so_where_organs_are_hidden() -> None:
    assert SPARSE.without(np.array([0, 1, IGNORED, 2], dtype=np.uint8), (1,)).tolist() == [0, 0, IGNORED, 2]


def test_the_dice_of_a_painted_mask_is_that_of_its_values() -> None:
    label_map = np.array([[[0, 5, 5, 2]]])
    mask = ORGANS.decode(ORGANS.decide(torch.tensor([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 1.0]])).numpy())
    assert mask.tolist() == [2, 5, 0, 2]
    assert dice(mask[None, None], label_map, list(ORGANS.names)) == {5: pytest.approx(2 / 3), 2: pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("settings_of_it", "message"),
    [
        ({"labels": (LIVER, LIVER)}, r"label values must differ, got \[5, 5\]"),
        ({"labels": (LIVER, SPLEEN), "regions": ((5, 2),)}, "2 labels need a region each, got 1"),
        ({"labels": (LIVER, SPLEEN), "regions": ((5, 2), ())}, r"region 'spleen' needs values .* got \[\]"),
        ({"labels": (LIVER, SPLEEN), "regions": ((5, 0), (2,))}, r"region 'liver' needs values .* got \[5, 0\]"),
        ({"labels": (LIVER, SPLEEN), "regions": ((5, 5), (2,))}, r"region 'liver' needs values .* got \[5, 5\]"),
        ({"labels": (LIVER, SPLEEN), "regions": ((5,), (5,))}, r"region 'spleen' is painted as 2, not one of .*\[5\]"),
        ({"labels": (LIVER, SPLEEN), "ignored": 5}, "neither background nor an organ's, got 5"),
        ({"labels": (LIVER, SPLEEN), "ignored": 0}, "neither background nor an organ's, got 0"),
        ({"labels": (LIVER, SPLEEN), "ignored": -1}, "neither background nor an organ's, got -1"),
        ({"labels": (LIVER,), "regions": (tuple(range(1, 256)),)}, "at most 254 values, got 255"),
    ],
)
def test_a_scheme_that_contradicts_itself_is_refused(settings_of_it: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelScheme(**settings_of_it)
