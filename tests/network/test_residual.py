"""Tests of autoseg.network.residual."""

from __future__ import annotations

from pathlib import Path

import made
import pytest
import torch
from torch import nn

from autoseg.network.residual import ResidualBlock, residual_unet
from autoseg.network.unet import parameter_count
from autoseg.network.weights import load_networks
from autoseg.plan import Level, NetworkPlan
from autoseg.run import FoldFolder
from autoseg.training.log import read_rows
from autoseg.training.loop import Fold, train

TWO = NetworkPlan(kind="residual", stages=(Level(features=(2, 3)), Level(features=(4, 5))))


def test_parameters_are_those_counted_by_hand() -> None:
    def convolution(channels: int, width: int, voxels: int = 27) -> int:
        return channels * voxels * width + width + 2 * width  # weights, biases, scale and shift of the norm

    stem, top = convolution(1, 2), convolution(2, 2) + convolution(2, 3) + convolution(2, 3, voxels=1)
    bottom = convolution(3, 4) + convolution(4, 5) + convolution(3, 5, voxels=1) + 2 * 2 * convolution(5, 5)
    decoder = (5 * 8 * 5 + 5) + convolution(5 + 3, 3) + convolution(3, 3) + (3 * 2 + 2)
    assert parameter_count(residual_unet(1, 2, TWO)) == stem + top + bottom + decoder


@pytest.mark.parametrize(("levels", "blocks"), [(2, [1, 3]), (6, [1, 3, 4, 6, 6, 6]), (7, [1, 3, 4, 6, 6, 6, 6])])
def test_the_levels_have_the_blocks_of_the_paper(levels: int, blocks: list[int]) -> None:
    network = residual_unet(
        1, 2, NetworkPlan(kind="residual", stages=tuple(Level(features=(1, 1)) for _ in range(levels)))
    )
    assert [sum(isinstance(m, ResidualBlock) for m in level.modules()) for level in network.down] == blocks


def test_a_new_block_of_one_width_is_the_activation_of_its_input() -> None:
    block, image = ResidualBlock(3, (2, 3), (3, 3, 3), TWO), torch.randn(2, 3, 4, 4, 4)
    torch.testing.assert_close(block(image), image.relu())
    wider = ResidualBlock(3, (2, 4), (3, 3, 3), TWO)
    assert [type(layer) for layer in wider.shortcut][1:] == [nn.BatchNorm3d]
    torch.testing.assert_close(wider(image), wider.shortcut(image).relu())


def test_it_learns_tiny_cases_and_its_model_is_read_again(tmp_path: Path) -> None:
    cases = made.easy_cases(tmp_path / "cache", 3)
    plan = made.plan(network=made.plan().network.model_copy(update={"kind": "residual"}), iterations=40)
    fold = Fold(plan=plan, training=cases[:2], validation=cases[2:], files=FoldFolder(tmp_path / "fold-0"), workers=0)
    train(fold, lambda _: None, lambda: False)
    losses = [float(row["loss"]) for row in read_rows(tmp_path / "fold-0" / "log.csv")]
    assert sum(losses[-5:]) / 5 < losses[0] - 0.2  # Dice, −1 at best
    (network,), stored, _ = load_networks(tmp_path / "fold-0" / "model.autoseg", "cpu")
    assert stored.network.kind == "residual"
    assert sum(isinstance(m, ResidualBlock) for m in network.modules()) == 4
