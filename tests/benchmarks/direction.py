"""A network that is right without training: an organ is where two channels together point its way.

Organ n of N has the intensities R·cos(2πn/N) and R·sin(2πn/N), all else 0, as in a CT of two energies. A voxel between
organ and surroundings points the same way, only shorter, so a border shows no third organ, whatever the grid. One
channel could not do this: what lies between two intensities in it is another organ's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from autoseg.network.build import build
from autoseg.network.unet import UNet3D
from autoseg.network.weights import MODEL, load_tensors, save_model
from autoseg.plan import parse_plan

LENGTH_HU = 1000.0  # R
SHARPNESS = 5000.0  # logits for a whole R; neighbours of 120 organs are 0.0014 R apart
POSITIVE = 10.0  # added to normalised intensities, so that no activation changes them


def directions(organs: int) -> npt.NDArray[np.float64]:
    """Return where each organ points, of length 1, (organs, 2)."""
    angles = 2 * np.pi * np.arange(1, organs + 1) / organs
    return np.stack((np.cos(angles), np.sin(angles)), axis=1)


@torch.no_grad()
def answer_by_direction(file: Path) -> None:
    """Give the network of a model file weights that find the organs by their direction; plan and facts stay."""
    _, texts = load_tensors(file, MODEL)
    plan = parse_plan(texts["plan"], str(file))
    network = cast(UNet3D, build(plan))
    _pass_on(network.down[0], first=0, shift=POSITIVE)
    _pass_on(network.across[0], first=cast(nn.ConvTranspose3d, network.up[0]).out_channels, shift=0.0)
    towards = torch.tensor(directions(len(plan.labels)) * SHARPNESS / LENGTH_HU)
    spread = torch.tensor([how.std for how in plan.intensity], dtype=torch.float64)
    middle = torch.tensor([how.mean for how in plan.intensity], dtype=torch.float64)
    last = network.classify
    last.weight.zero_()
    last.weight[1:, :2, 0, 0, 0] = (towards * spread).float()
    cast(torch.Tensor, last.bias)[1:] = (towards @ (middle - POSITIVE * spread)).float()
    cast(torch.Tensor, last.bias)[0] = SHARPNESS / 2  # what is shorter than half of R is background
    save_model(file, plan, network.state_dict(), json.loads(texts["facts"]))


def _pass_on(block: nn.Module, first: int, shift: float) -> None:
    """Make two convolutions with their norms hand on two channels, from the `first`, unchanged but for a shift."""
    layers = list(cast(nn.Sequential, block))
    for number, (layer, norm) in enumerate(((layers[0], layers[1]), (layers[3], layers[4]))):
        convolution, batch = cast(nn.Conv3d, layer), cast(nn.BatchNorm3d, norm)
        z, y, x = (length // 2 for length in convolution.kernel_size)
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(cast(torch.Tensor, convolution.bias))
        for channel in range(2):
            convolution.weight[channel, channel + (0 if number else first), z, y, x] = 1.0
        batch.reset_running_stats()
        cast(torch.Tensor, batch.running_var).fill_(1.0 - batch.eps)
        nn.init.ones_(batch.weight)
        nn.init.constant_(batch.bias, 0.0 if number else shift)
