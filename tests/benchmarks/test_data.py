"""Speed of the data pipeline, on one thread: python -m pytest tests/benchmarks --benchmark-only --benchmark-disable-gc.

The peer is batchgenerators' own elastic SpatialTransform (image order 1, label order 0) on the same volume; the limit
is the bare resampling of image and label at given coordinates.
"""

from __future__ import annotations

import made
import numpy as np
import pytest
import torch
from batchgenerators.transforms.spatial_transforms import SpatialTransform
from pytest_benchmark.fixture import BenchmarkFixture

from autoseg.data.augment import coordinates
from autoseg.data.cache import CachedCase
from autoseg.data.cutting import CropRequest, sample
from autoseg.plan import AugmentationPlan

SIZE = (64, 64, 64)
VOLUME = (115, 128, 128)
PAPER = AugmentationPlan(rotation_deg=20, translation_voxels=20, bspline_spacing_voxels=24, bspline_voxels=4)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> CachedCase:
    rng = np.random.default_rng(0)
    image, label = rng.normal(size=(1, *VOLUME)).astype(np.float32), rng.integers(0, 8, VOLUME, dtype=np.uint8)
    return made.cached_case(tmp_path_factory.mktemp("cache"), "a", image, label)


def test_read_a_random_crop(benchmark: BenchmarkFixture, case: CachedCase) -> None:
    rng = np.random.default_rng(0)

    def read() -> np.ndarray:
        z, y, x = (int(rng.integers(0, n - s)) for n, s in zip(VOLUME, SIZE, strict=True))
        box = slice(z, z + SIZE[0]), slice(y, y + SIZE[1]), slice(x, x + SIZE[2])
        return np.array(case.image()[(slice(None), *box)])

    assert benchmark(read).shape == (1, *SIZE)


@pytest.mark.benchmark(group="augment one 64³ crop")
def test_augment_the_papers_recipe(benchmark: BenchmarkFixture, case: CachedCase) -> None:
    request = CropRequest(case=case, centre=(57.0, 63.0, 63.0))
    benchmark(lambda: sample(request, coordinates(SIZE, (1.0, 1.0, 1.0), PAPER), (0.0,)))


@pytest.mark.benchmark(group="augment one 64³ crop")
def test_the_limit_is_the_bare_resampling(benchmark: BenchmarkFixture, case: CachedCase) -> None:
    request, grid = CropRequest(case=case, centre=(57.0, 63.0, 63.0)), coordinates(SIZE, (1.0, 1.0, 1.0), PAPER)
    benchmark(lambda: sample(request, grid, (0.0,)))


@pytest.mark.benchmark(group="augment one 64³ crop")
def test_the_peer_is_batchgenerators_elastic_transform(benchmark: BenchmarkFixture, case: CachedCase) -> None:
    angle = (-np.pi / 9, np.pi / 9)
    peer = SpatialTransform(
        SIZE,
        patch_center_dist_from_border=32,
        do_elastic_deform=True,
        alpha=(0.0, 200.0),
        sigma=(9.0, 13.0),
        do_rotation=True,
        angle_x=angle,
        angle_y=angle,
        angle_z=angle,
        do_scale=False,
        order_data=1,
        order_seg=0,
        random_crop=False,
        p_el_per_sample=1,
        p_rot_per_sample=1,
    )
    image, label = np.asarray(case.image(), np.float32)[None], np.asarray(case.label(), np.float32)[None, None]
    source = (slice(None), slice(None), slice(6, 108), slice(13, 115), slice(13, 115))  # what the crop can reach
    benchmark(lambda: peer(data=image[source], seg=label[source]))
