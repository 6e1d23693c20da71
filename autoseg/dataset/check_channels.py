"""Mixed-up channels: one image given as two channels, or two channels exchanged in a case."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from autoseg.dataset.check_twins import voxel_key
from autoseg.dataset.facts import CaseFacts, ChannelFacts
from autoseg.dataset.findings import FEWEST, Finding, row
from autoseg.dataset.load import Dataset
from autoseg.dataset.names import unheeded_normalisation

USUAL = 0.5  # share of the cases above which one finding stands for all
LEAST_SHARE = 0.05  # the least robust deviation of what lies between 0 and 1
LEAST_LOG_RANGE = 0.3  # and of the decimal logarithm of the range
MOST_FAR = 10.0  # robust deviations that one property counts at most
CLEARLY = 2.0  # mean robust deviations by which the exchanged channels must fit better


def channel_findings(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield cases with one image as two channels, and cases with two channels exchanged against the others."""
    for name in dataset.channels:
        if (asked := unheeded_normalisation(name)) is not None:
            found = f"channel {name}: nnU-Net would {asked}; here the name is not heeded, images are normalised as any"
            fix = "nothing, if that will do; else prepare the images so that it will"
            yield row(dataset, "", "image", "normalisation-name", "warning", found, fix)
    for pair in itertools.combinations(range(len(dataset.channels)), 2):
        names = " and ".join(dataset.channels[number] for number in pair)
        same = [case.case for case in facts if _same(*(case.channels[number] for number in pair))]
        found, fix = f"{names} are the same image", "give each channel its own file"
        if len(same) > max(1, USUAL * len(facts)):
            text = f"{found} in {len(same)} of {len(facts)} cases"
            yield row(dataset, "", "image", "channels-same", "warning", text, f"{fix}, or leave one out")
        else:
            for name in same:
                yield row(dataset, name, "image", "channels-same", "warning", found, fix, channel=pair[1])
        twofold = frozenset(same)
        for name in _exchanged([case for case in facts if case.case not in twofold], pair):
            found = f"{names} look exchanged: each is like the other one in the other cases"
            yield row(dataset, name, "image", "channels-swapped", "warning", found, "exchange the two files")


def _same(first: ChannelFacts, second: ChannelFacts) -> bool:
    return not first.constant and voxel_key(first) == voxel_key(second)


def _exchanged(facts: Sequence[CaseFacts], pair: tuple[int, int]) -> list[str]:
    """Return the cases whose two channels fit the cohort clearly better the other way round."""
    if len(facts) < FEWEST:
        return []
    first, second = (np.array([_properties(case, number) for case in facts]) for number in pair)
    as_given = _distance(first, first) + _distance(second, second)
    exchanged = _distance(second, first) + _distance(first, second)
    better = (as_given - exchanged > CLEARLY) & (exchanged < as_given / 2)
    return [case.case for case, odd in zip(facts, better, strict=True) if odd]


def _properties(case: CaseFacts, number: int) -> list[float]:
    """Return the properties that distinguish kinds of images: range, histogram, mean and spread within the organs."""
    channel = case.channels[number]
    spread = channel.percentile_99_5 - channel.percentile_00_5
    inside = [channel.relative(value) for value in case.sample[number]] or [0.5]
    return [
        float(np.log10(max(spread, 1e-6))),
        channel.relative(channel.median),
        channel.relative(channel.mean),
        channel.std / spread if spread > 0 else 0.0,
        float(np.mean(inside)),
        float(np.std(inside)),
    ]


def _distance(values: npt.NDArray[np.float64], usual: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how far each row of `values` lies from the rows of `usual`, in robust deviations, mean of properties."""
    offset = np.abs(usual - np.median(usual, axis=0))
    least = np.array([LEAST_LOG_RANGE] + [LEAST_SHARE] * (usual.shape[1] - 1))
    spread = np.maximum(1.4826 * np.median(offset, axis=0), least)
    apart = np.abs(values - np.median(usual, axis=0)) / spread
    return np.asarray(np.minimum(apart, MOST_FAR).mean(axis=1))
