"""Tests of autoseg.dataset.names: what the names of organs say."""

from __future__ import annotations

import pytest

from autoseg.dataset.names import is_tubular, unheeded_normalisation


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
