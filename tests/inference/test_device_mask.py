"""Tests of masks painted on a device; the device is the CPU here, where every value can be looked at."""

from __future__ import annotations

from collections.abc import Sequence

import made
import numpy as np
import pytest
import torch
from torch import Tensor

from autoseg.imaging.grid import Voxels
from autoseg.inference import device_mask
from autoseg.inference.device_mask import DeviceMask, painting_bytes
from autoseg.inference.upsample import Upsampler, _axis
from autoseg.labels import Label, LabelScheme

SHAPES = [
    ((5, 6, 7), (11, 13, 16)),
    ((6, 6, 6), (6, 6, 6)),
    ((1, 4, 4), (3, 8, 8)),
    ((4, 1, 3), (9, 2, 5)),
    ((8, 8, 8), (5, 4, 8)),  # to a coarser grid
    ((7, 5, 5), (28, 20, 20)),
]
OVERLAPPING = LabelScheme(labels=(Label(value=1, name="kidney"), Label(value=2, name="tumour")), regions=((1, 2), (2,)))


def smooth(classes: int, working: Voxels, seed: int) -> Tensor:
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(classes, *working)).astype(np.float32))
    return (3 * noise).softmax(dim=0).permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def painted(scheme: LabelScheme, values: Tensor, full: Voxels, cuts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks on the image's grid and on the working grid, painted slab by slab."""
    z = _axis(values.shape[1], full[0])
    mask = DeviceMask(scheme, values.shape[1:], full, (z.cell, z.weight), values.device)
    for slab in values.split(list(cuts), dim=1):
        mask.add(slab, scheme.decide(slab))
    return mask.fetch()


def upsampled(scheme: LabelScheme, values: Tensor, full: Voxels) -> Upsampler:
    z, y, x = values.shape[1:]
    upsampler = Upsampler(scheme, (z, y, x), full)
    upsampler.add(values)
    return upsampler


@pytest.mark.parametrize(("working", "full"), SHAPES)
@pytest.mark.parametrize("classes", [2, 5])
def test_it_is_the_mask_that_the_cpu_paints_cell_by_cell(working: Voxels, full: Voxels, classes: int) -> None:
    scheme, values = made.scheme(classes), smooth(classes, working, seed=classes)
    expected = upsampled(scheme, values, full)
    mask, coarse = painted(scheme, values, full, [working[0]])
    np.testing.assert_array_equal(mask, expected.mask)
    np.testing.assert_array_equal(coarse, expected.coarse)


@pytest.mark.parametrize("cuts", [[1, 6], [3, 1, 3], [1] * 7, [6, 1]])
def test_slabs_may_be_cut_anywhere(cuts: list[int]) -> None:
    scheme, values = made.scheme(4), smooth(4, (7, 5, 5), seed=1)
    whole, _ = painted(scheme, values, (20, 15, 15), [7])
    mask, _ = painted(scheme, values, (20, 15, 15), cuts)
    np.testing.assert_array_equal(mask, whole)


def test_planes_may_be_painted_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme, values = made.scheme(3), smooth(3, (4, 5, 6), seed=2)
    whole, _ = painted(scheme, values, (9, 11, 13), [4])
    monkeypatch.setattr(device_mask, "CHUNK_VALUES", 1)
    alone, _ = painted(scheme, values, (9, 11, 13), [4])
    np.testing.assert_array_equal(alone, whole)


def test_organs_within_organs_are_painted_by_one_half() -> None:
    values = torch.rand((OVERLAPPING.classes, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    mask, _ = painted(OVERLAPPING, values, (8, 8, 8), [4])
    np.testing.assert_array_equal(mask, upsampled(OVERLAPPING, values, (8, 8, 8)).mask)


def test_the_mask_of_the_same_grid_can_be_cleaned_without_changing_the_other() -> None:
    mask, coarse = painted(made.scheme(3), smooth(3, (3, 3, 3), seed=0), (3, 3, 3), [3])
    before = coarse.copy()
    mask[:] = 9
    np.testing.assert_array_equal(coarse, before)


def test_a_large_ct_needs_less_than_half_a_gib_beside_the_network() -> None:
    # slabs 3·4·8·100·128² = 157 MB, planes 3·4·2²⁴ = 201 MB, masks 100·128² + 400·512² = 106 MB
    assert (
        painting_bytes(8, 100, (100, 128, 128), (400, 512, 512)) == 157_286_400 + 201_326_592 + 1_638_400 + 104_857_600
    )
