"""Random changes of intensities: as batchgenerators makes them, and as tensor operations with the values it drew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from batchgenerators.transforms.abstract_transforms import AbstractTransform
from batchgenerators.transforms.color_transforms import (
    BrightnessTransform,
    ContrastAugmentationTransform,
    GammaTransform,
)
from batchgenerators.transforms.noise_transforms import GaussianNoiseTransform
from torch import Tensor

from autoseg.imaging.grid import Voxels
from autoseg.plan import AugmentationPlan, Plan

Array = npt.NDArray[np.floating[Any]]
# batchgenerators' own, against a division by zero
EPSILON_RANGE, EPSILON_DEVIATION = 1e-7, 1e-8


@dataclass(frozen=True, kw_only=True)
class IntensityChange:
    """A random change of the intensities of every crop.

    What it draws does not depend on the crop's voxels: so its values are read off a probe that batchgenerators changes.
    """

    amount: Callable[[AugmentationPlan], float]  # its strength in the plan; 0: none
    transform: Callable[[float], AbstractTransform]  # of that amount
    probe: Callable[[Voxels], Array]  # one channel of a crop of that size, for the transform
    read: Callable[[Array], Array]  # from changed channels (C, …) to the values of each, (C, …)
    apply: Callable[[Tensor, Tensor], Tensor]  # to an image (C, Z, Y, X), with values (C, 1, 1, 1) or (C, Z, Y, X)


def _bend(image: Tensor, exponents: Tensor) -> Tensor:
    """Bend the values between the ends of each channel; its mean and deviation stay."""
    least, extent = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    extent = extent - least + EPSILON_RANGE
    bent = ((image - least) / extent) ** exponents * extent + least
    bent = bent - bent.mean((1, 2, 3), keepdim=True)
    deviation, before = (i.std((1, 2, 3), correction=0, keepdim=True) for i in (bent, image))
    return bent / (deviation + EPSILON_DEVIATION) * before + image.mean((1, 2, 3), keepdim=True)


def _stretch(image: Tensor, factors: Tensor) -> Tensor:
    mean = image.mean((1, 2, 3), keepdim=True)
    return (image - mean) * factors + mean


def _line(*values: float) -> Callable[[Voxels], Array]:
    return lambda _: np.array(values).reshape(-1, 1, 1)


INTENSITY_CHANGES = (  # in this order
    IntensityChange(
        amount=lambda plan: plan.contrast,
        transform=lambda c: ContrastAugmentationTransform((1 - c, 1 + c), preserve_range=False),
        probe=_line(-1.0, 1.0),  # of mean 0
        read=lambda channels: channels[:, 1:],
        apply=_stretch,
    ),
    IntensityChange(
        amount=lambda plan: plan.brightness,
        transform=lambda sigma: BrightnessTransform(mu=0.0, sigma=sigma),
        probe=_line(0.0),
        read=lambda channels: channels,
        apply=torch.add,
    ),
    IntensityChange(
        amount=lambda plan: plan.gamma,
        transform=lambda g: GammaTransform((1 - g, 1 + g), per_channel=True, retain_stats=True),
        probe=_line(0.0, 0.5, 1.0),  # whatever mean and deviation become, 0.5 lies at 0.5 ** exponent of the way
        read=lambda channels: np.log2(
            (channels[:, 2:] - channels[:, :1]) / (channels[:, 1:2] - channels[:, :1]),
        ),
        apply=_bend,
    ),
    IntensityChange(
        amount=lambda plan: plan.noise,
        transform=lambda most: GaussianNoiseTransform(noise_variance=(0.0, most), p_per_sample=1.0),
        probe=lambda size: np.zeros(size, dtype=np.float32),
        read=lambda channels: channels,
        apply=torch.add,
    ),
)


def intensity_changes(plan: Plan) -> list[tuple[IntensityChange, AbstractTransform]]:
    """Return the changes that a plan has, each with its transform."""
    amounts = [(change, change.amount(plan.augmentation)) for change in INTENSITY_CHANGES]
    return [(change, change.transform(amount)) for change, amount in amounts if amount]


def draw_values(change: IntensityChange, transform: AbstractTransform, channels: int, size: Voxels) -> Array:
    """Draw the values of a change of a crop as its transform does when it changes one, from the global generators."""
    probe = np.stack([change.probe(size)] * channels)
    return change.read(np.asarray(transform(data=probe[None])["data"][0]))
