"""Tests of autoseg.dataset.names: what the names of organs say."""

from __future__ import annotations

import pytest

from autoseg.dataset.names import is_sided, is_tubular, side_pairs, unheeded_normalisation
from autoseg.labels import Label


@pytest.mark.parametrize(
    "organ", ["artery", "Aorta", "hepatic_vessels", "inferior_vena_cava", "PancreaticDuct", "OpticNerve_L", "veins"]
)
def test_a_tube_is_told_by_a_word_of_its_name(organ: str) -> None:
    assert is_tubular(organ)


@pytest.mark.parametrize("organ", ["liver", "conduct", "nervous", "heart_ventricle", "label 3", ""])
def test_other_organs_are_no_tubes(organ: str) -> None:
    assert not is_tubular(organ)


@pytest.mark.parametrize(
    ("name", "asked"), [("noNorm", True), ("rescale_to_0_1", True), ("CT", False), ("zscore", False)]
)
def test_a_name_that_asks_for_another_normalisation_is_known(name: str, asked: bool) -> None:
    assert (unheeded_normalisation(name) is not None) == asked


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("почка left", "почка right", "лёгкое left", "лёгкое right"), ((1, 2), (3, 4))),
        (("почка_L", "глаз_R"), ()),
        (("Öl", "Ör"), ()),
        (("kidneyL", "kidneyR"), ((1, 2),)),
    ],
)
def test_sides_are_told_in_names_of_any_script(names: tuple[str, ...], pairs: tuple[tuple[int, int], ...]) -> None:
    assert side_pairs([Label(value=n, name=name) for n, name in enumerate(names, start=1)]) == pairs
    assert not is_sided("Öl")
