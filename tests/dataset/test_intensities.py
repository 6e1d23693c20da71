"""How a channel's images are taken: as CT, or each by itself, and up to which of its own intensities."""

from __future__ import annotations

import made
import numpy as np
import pytest

from autoseg.data.preprocess import normalise
from autoseg.dataset.check_images import is_ct
from autoseg.dataset.facts import ChannelFacts
from autoseg.plan import Intensity
from autoseg.planning import rules

PET = ChannelFacts(low=0.0, high=30.0, mean=1.0, std=1.0, percentile_00_5=0.0, median=1.0, percentile_99_5=5.0, air=0.0)
CT = ChannelFacts(
    low=-1024.0, high=1500.0, mean=0.0, std=1.0, percentile_00_5=-1000.0, median=0.0, percentile_99_5=500.0, air=0.4
)


@pytest.mark.parametrize(
    ("name", "images", "ct"),
    [
        ("PET (on CT grid)", [PET, PET], False),
        ("CT of PET/CT", [CT, CT], True),
        ("CT", [PET, PET], True),  # rescaled, which the check reports
        ("PET", [PET], False),
    ],
)
def test_a_channel_that_names_two_modalities_is_what_its_images_look_like(
    name: str, images: list[ChannelFacts], ct: bool
) -> None:
    assert is_ct(name, images) == ct


def test_what_little_shines_in_an_image_is_still_seen_when_it_is_normalised() -> None:
    image = np.zeros((1, 10, 20, 20), np.float32)
    image[0, 5, 5, 5:10] = 7.0  # 5 of 4,000 voxels, fewer than the 0.5 % above the percentile 99.5
    seen = normalise(image, [Intensity(kind="per-image", low=0.5, high=99.5)])
    assert np.ptp(seen) > 1.0
    assert len(np.unique(seen)) == 2


def test_an_image_is_not_clipped_below_organs_that_shine() -> None:
    channel = made.fingerprint((20, 20, 20), (1.0, 1.0, 1.0)).channels[0].model_copy(update={"ct": False})
    assert rules.intensity(channel) == Intensity(kind="per-image", low=0.5, high=99.5)
    shining = channel.model_copy(update={"highest_percentile": 100.0})
    assert rules.intensity(shining) == Intensity(kind="per-image", low=0.5, high=100.0)
