"""Tests of autoseg.training.state: how a training begins."""

from __future__ import annotations

from typing import cast

import made
import torch
from torch import Tensor

from autoseg.labels import Label
from autoseg.network.unet import UNet3D
from autoseg.plan import LossPlan
from autoseg.training.state import new_state

ORGANS = tuple(Label(value=value, name=f"organ {value}") for value in (1, 2))


def first_bias(**changes: object) -> Tensor:
    plan = made.plan(labels=ORGANS, **changes)
    return cast(Tensor, cast(UNet3D, new_state(plan).network).classify.bias)


def test_regions_begin_as_likely_as_their_voxels_are_frequent() -> None:
    shares = torch.tensor((0.2, 0.01))
    weights = tuple(((1 - shares) / shares).sqrt().tolist())
    loss = LossPlan(kind="dice-ce", background=False, over="batch", weights=weights)
    bias = first_bias(regions=((1, 2), (2,)), logit_scale=4.0, loss=loss)
    torch.testing.assert_close((4.0 * bias).sigmoid(), shares)
    never = loss.model_copy(update={"weights": (0.0, 1.0)})
    assert first_bias(regions=((1, 2), (2,)), logit_scale=4.0, loss=never).isfinite().all()


def test_disjoint_organs_and_regions_of_earlier_plans_begin_equally_likely() -> None:
    loss = LossPlan(kind="dice-ce", background=False, over="batch", weights=(1.0, 2.0, 3.0))
    assert not first_bias(loss=loss).any()
    assert not first_bias(regions=((1, 2), (2,)), loss=loss.model_copy(update={"weights": (2.0, 10.0)})).any()
