"""The 3D U-Net with a residual encoder (Isensee et al. 2024, "nnU-Net Revisited", ResEnc).

As there: a stem, then 1, 3, 4, 6, 6, 6 … residual blocks a level, whose last norm begins at 0, so that a block begins
as its shortcut. Ours: levels are pooled, not strided, and the decoder is the plain U-Net's, two convolutions a level.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from autoseg.network.unet import UNet3D, activation, normed_convolution
from autoseg.plan import NetworkPlan

BLOCKS = (1, 3, 4, 6)  # of the first levels; deeper ones have as many as the last


class ResidualBlock(nn.Module):
    """Two convolutions, and a shortcut around them; a 1×1×1 convolution where the width changes."""

    def __init__(self, channels: int, widths: tuple[int, int], kernel: tuple[int, int, int], plan: NetworkPlan) -> None:
        """Build the block.

        Args:
            channels: Input channels.
            widths: Channels of the two convolutions.
            kernel: Of both, voxels.
            plan: Norm and activation.
        """
        super().__init__()
        first, second = widths
        convolution, norm = normed_convolution(first, second, kernel, plan)
        nn.init.zeros_(cast(Tensor, norm.weight))
        self.main = nn.Sequential(
            *normed_convolution(channels, first, kernel, plan), activation(plan), convolution, norm
        )
        across = () if channels == second else normed_convolution(channels, second, (1, 1, 1), plan)
        self.shortcut = nn.Sequential(*across)
        self.activation = activation(plan)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, width, Z, Y, X) of an image (B, C, Z, Y, X)."""
        return cast(Tensor, self.activation(self.main(image) + self.shortcut(image)))


def residual_unet(channels: int, classes: int, plan: NetworkPlan) -> UNet3D:
    """Return the network; arguments as for `UNet3D`.

    The first block of a level has the widths of the level's two convolutions, the others its second width.
    """
    return UNet3D(channels, classes, plan, _level)


def _level(channels: int, level: int, plan: NetworkPlan) -> nn.Sequential:
    stage = plan.stages[level]
    first, width = stage.features
    layers: list[nn.Module] = []
    if level == 0:  # the stem
        layers += [*normed_convolution(channels, first, stage.kernel, plan), activation(plan)]
        channels = first
    layers.append(ResidualBlock(channels, (first, width), stage.kernel, plan))
    further = BLOCKS[min(level, len(BLOCKS) - 1)] - 1
    layers += [ResidualBlock(width, (width, width), stage.kernel, plan) for _ in range(further)]
    return nn.Sequential(*layers)
