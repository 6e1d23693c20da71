"""Tests of autoseg.inference.second_percent: the probabilities of two stages agree with the mask that is pasted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn.functional import interpolate

from autoseg.imaging.grid import Voxels
from autoseg.inference.second_percent import box_percent

WHOLE = (slice(0, 1), slice(0, 1), slice(0, 1))
HALVES = npt.NDArray[np.float16]


def of_a_voxel(*values: float) -> HALVES:
    return np.array(values, np.float16).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("first", "second", "pasted", "percent"),
    [
        # background, liver, vein by the first stage; background, vein by the second; what is pasted; the result
        ((0.2, 0.6, 0.2), (0.2, 0.8), 2, (5, 15, 80)),  # 0.2 is shared 1 : 3
        ((0.2, 0.6, 0.2), (0.8, 0.2), 1, (20, 60, 20)),
        ((0.3, 0.4, 0.3), (0.5, 0.5), 1, (0, 50, 50)),  # 29 by itself: it takes all of background's 21
        ((0.3, 0.5, 0.2), (0.6, 0.4), 1, (20, 40, 40)),  # 37.5 by itself: lifted to the vein's
        ((0.0, 0.0, 1.0), (0.7, 0.3), 0, (70, 0, 30)),  # the first stage holds nothing else for possible
    ],
)
def test_the_class_of_the_mask_is_the_most_probable_and_all_add_up(
    first: tuple[float, ...], second: tuple[float, ...], pasted: int, percent: tuple[int, ...]
) -> None:
    mask = np.full((1, 1, 1), pasted, np.uint8)
    both = box_percent(mask, WHOLE, (1, 1, 1), of_a_voxel(*first), of_a_voxel(*second), (2,))
    assert both.percent[:, 0, 0, 0].tolist() == pytest.approx(percent, abs=1)
    assert both.percent[pasted] == both.percent.max()


def soft(rng: np.random.Generator, classes: int, shape: Voxels) -> HALVES:
    logits = torch.from_numpy(rng.normal(0.0, 1.5, (classes, *shape)))
    return logits.softmax(dim=0).numpy().astype(np.float16)


def on(values: HALVES, shape: Voxels) -> npt.NDArray[np.float32]:
    whole = torch.from_numpy(values.astype(np.float32))[None]
    return interpolate(whole, shape, mode="trilinear", align_corners=False)[0].numpy()


def test_on_two_grids_the_mask_follows_from_what_is_written() -> None:
    rng = np.random.default_rng(3)
    full, box = (21, 14, 16), (slice(2, 20), slice(3, 14), slice(0, 9))
    first, second, classes = soft(rng, 5, (7, 6, 5)), soft(rng, 3, (11, 8, 7)), (4, 2)
    coarse, fine = on(first, full)[:, *box], on(second, (18, 11, 9))
    others = coarse.copy()
    others[list(classes)] = -1
    mask = np.where(fine.argmax(0) > 0, np.array([0, *classes])[fine.argmax(0)], others.argmax(0)).astype(np.uint8)

    both = box_percent(mask, box, full, first, second, classes)
    assert both.box == box
    written = np.take_along_axis(both.percent, mask[None].astype(np.intp), axis=0)[0]
    np.testing.assert_array_equal(written, both.percent.max(axis=0))
    assert both.percent.sum(axis=0) == pytest.approx(np.full(mask.shape, 100), abs=3)
    for organ, index in enumerate(classes, start=1):
        np.testing.assert_allclose(both.percent[index], 100 * fine[organ], atol=0.6)
