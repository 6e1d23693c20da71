"""Tests of autoseg.evaluation.external: organs of another dataset, matched by name."""

from __future__ import annotations

import numpy as np

from autoseg.evaluation.external import matched, renumbered
from autoseg.labels import Label

OURS = (Label(value=1, name="liver"), Label(value=2, name="Left Kidney"))
THEIRS = (Label(value=3, name="left kidney"), Label(value=5, name="Liver"), Label(value=6, name="tumour"))


def test_organs_are_matched_by_name_whatever_their_values() -> None:
    assert {value: organ.value for value, organ in matched(THEIRS, OURS).items()} == {3: 2, 5: 1}
    assert matched((Label(value=1, name="heart"),), OURS) == {}


def test_a_label_map_gets_the_models_values_and_what_it_does_not_know_is_background() -> None:
    truth = np.array([[[0, 3, 5, 6, -1]]])
    assert renumbered(truth, matched(THEIRS, OURS)).tolist() == [[[0, 2, 1, 0, 0]]]
    assert renumbered(np.zeros((1, 1, 2), int), matched(THEIRS, OURS)).tolist() == [[[0, 0]]]
