"""Phantoms with thin vessels: as thin as is said, in few pieces, and nothing else changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from autoseg.errors import DatasetError
from autoseg.phantom.cohort import write_cohort
from autoseg.phantom.scan import ORGANS, USUAL, Detail, PhantomCase, phantom_case
from autoseg.phantom.vessels import THINNEST_MM, WIDEST_MM, thin_arterial_tree, thin_portal_tree

THIN = Detail(has_thin_vessels=True)
VESSELS = (1 + ORGANS.index("artery"), 1 + ORGANS.index("vein"))


@pytest.fixture(scope="module")
def thin() -> PhantomCase:
    return phantom_case(7, 1, THIN)


@pytest.fixture(scope="module")
def usual() -> PhantomCase:
    return phantom_case(7, 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_vessels_branch_and_are_3_to_8_mm_wide(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for tree in (thin_portal_tree(rng, (0.0, 0.0, 0.0)), thin_arterial_tree(rng, (0.0, 0.0, 0.0))):
        diameters = 2 * np.concatenate([shape.radii for shape in tree])
        assert THINNEST_MM <= diameters.min() < 3.5
        assert 6.5 < diameters.max() <= WIDEST_MM
        assert len(tree) > 20
        starts = np.array([shape.path[0] for shape in tree])
        others = [np.concatenate([o.path for o in tree if o is not shape]) for shape in tree]
        nearest = [np.linalg.norm(other - start, axis=1).min() for start, other in zip(starts, others, strict=True)]
        assert sum(mm > 1.5 for mm in nearest) <= 2  # each begins on another; but for two in the aorta


def test_only_the_vessels_differ_from_a_usual_phantom(thin: PhantomCase, usual: PhantomCase) -> None:
    assert thin.grid == usual.grid
    elsewhere = ~np.isin(thin.label, VESSELS) & ~np.isin(usual.label, VESSELS)
    np.testing.assert_array_equal(thin.label[elsewhere], usual.label[elsewhere])
    assert set(np.unique(thin.label)) == set(range(8))
    for value in VESSELS:
        assert 0.1 < (thin.label == value).sum() / (usual.label == value).sum() < 0.8


def test_the_vessels_hang_together_and_are_bright(thin: PhantomCase) -> None:
    for value, trees in zip(VESSELS, (2, 1), strict=True):  # two of the arteries begin in the aorta
        pieces, _ = ndimage.label(thin.label == value, structure=np.ones((3, 3, 3)))
        sizes = np.sort(np.bincount(pieces.ravel())[1:])
        assert sizes[-trees:].sum() > 0.8 * sizes.sum()
        assert np.median(thin.image[thin.label == value]) > 50


def test_a_cohort_says_how_fine_it_is_and_is_not_mixed_with_a_usual_one(tmp_path: Path) -> None:
    finer = Detail(finer=(2, 1))
    write_cohort(tmp_path, cases=0, seed=3, jobs=1, detail=finer)
    assert json.loads((tmp_path / "dataset.json").read_text(encoding="utf-8"))["detail"]["finer"] == [2, 1]
    with pytest.raises(DatasetError, match="another cohort"):
        write_cohort(tmp_path, cases=0, seed=3, jobs=1, detail=USUAL)
