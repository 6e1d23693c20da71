"""Models that earlier versions made load, and predict the masks that they predicted then.

tests/data holds one small model of each version that changed what a model file is, and its mask of one phantom.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoseg.imaging.volumes import Volume, read_label
from autoseg.inference.opening import open_model
from autoseg.phantom.scan import phantom_case

STORED = sorted((Path(__file__).parents[1] / "data").glob("model_*.autoseg"))
ROUNDING = 5  # voxels of 670,000 that another processor's arithmetic may tip over


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.stem)
def test_a_model_of_an_earlier_version_predicts_the_mask_that_it_predicted_then(file: Path) -> None:
    case = phantom_case(seed=7, index=3)
    image = Volume(array=case.image[None], grid=case.grid, stored=case.grid)
    mask = open_model(file, "cpu").predict(image).mask
    then = read_label(file.with_name(f"mask_{file.stem.removeprefix('model_')}.nii.gz"))
    assert np.count_nonzero(then.array) > 10_000
    assert np.count_nonzero(mask.array != then.array) <= ROUNDING
