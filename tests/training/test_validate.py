"""Tests of autoseg.training.validate: what whole volumes say, and how often they are asked."""

from __future__ import annotations

from pathlib import Path

import made
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoseg.data.cache import CachedCase
from autoseg.errors import TooLittleMemoryError
from autoseg.metrics.overlap import dice
from autoseg.network.losses import segmentation_loss
from autoseg.training.validate import examinations, examine


class Threshold(nn.Module):
    """Logits of each voxel from that voxel alone, so that tiles do not matter."""

    def __init__(self, fits: int = 10**9) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, 3, kernel_size=1)
        self.fits = fits
        self.seen: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(image[0, 0].numel())
        if image[0, 0].numel() > self.fits:
            raise RuntimeError("CUDA error: out of memory")
        return self.layer(image.float())


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in float32, so that results can be compared to 1e-5."""
    monkeypatch.setattr("autoseg.network.device.has_fast_bfloat16", lambda _: False)


def plainly(network: nn.Module, case: CachedCase) -> tuple[float, dict[int, float | None]]:
    """Return loss and Dice of a case from the logits of the whole volume."""
    truth = np.array(case.label())
    with torch.no_grad():
        logits = network(torch.from_numpy(np.asarray(case.image(), dtype=np.float32))[None])
    found = logits[0].argmax(dim=0).numpy().astype(np.uint8)
    target = torch.from_numpy(truth)[None].long()
    return float(segmentation_loss(logits, target, made.plan().loss, None)), dict(dice(found, truth, (1, 2)))


def test_loss_and_dice_are_those_of_the_whole_volume_though_it_is_seen_in_slabs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, cases = Threshold(), made.easy_cases(tmp_path, 2, (16, 12, 12))
    losses, scores = zip(*(plainly(network, case) for case in cases), strict=True)
    network.seen.clear()
    found = examine(network, made.plan(tile_depth=4), cases)
    assert len(network.seen) == 2 * 7  # tiles of 4 slices at steps of 2
    assert found.loss == pytest.approx(np.mean(losses), abs=1e-5)
    assert found.dice == pytest.approx(
        {"liver": np.mean([s[1] for s in scores]), "spleen": np.mean([s[2] for s in scores])}
    )


def test_a_tile_that_does_not_fit_is_halved_and_the_case_begun_anew(tmp_path: Path) -> None:
    torch.manual_seed(0)
    cases = made.easy_cases(tmp_path, 1, (16, 12, 12))
    plan, network = made.plan(tile_depth=16), Threshold()
    expected = examine(network, plan, cases)
    assert network.seen == [16 * 12 * 12]
    network.fits = 8 * 12 * 12
    found = examine(network, plan, cases)
    assert found.loss == pytest.approx(expected.loss, abs=1e-6)
    assert found.dice == expected.dice
    network.fits = 0
    with pytest.raises(TooLittleMemoryError, match="too little memory for a tile"):
        examine(network, plan, cases)


def test_examinations_take_a_twentieth_of_the_work_at_most(tmp_path: Path) -> None:
    watched = made.easy_cases(tmp_path, 2, (16, 12, 10))
    plan = made.plan(tile_depth=None)  # 2 crops of 8³ an iteration; a case is one tile of 16 × 12 × 10
    work = {n: n * 2 * 8**3 * 3 / (2 * 16 * 12 * 10) for n in (1, 100, 10_000)}  # in examinations of both cases
    assert 0.05 * work[100] == pytest.approx(4.0)
    counts = [examinations(plan.model_copy(update={"iterations": n}), watched) for n in work]
    assert counts == [1, 4, 20]


def test_tiles_that_overlap_count_as_the_work_they_are(tmp_path: Path) -> None:
    watched, plan = made.easy_cases(tmp_path, 1, (16, 12, 12)), made.plan(iterations=200)
    whole, tiles = (examinations(plan.model_copy(update={"tile_depth": depth}), watched) for depth in (16, 4))
    assert whole == int(0.05 * 3 * 200 * 2 * 8**3 / (16 * 12 * 12))
    assert tiles == int(0.05 * 3 * 200 * 2 * 8**3 / (7 * 4 * 12 * 12))
