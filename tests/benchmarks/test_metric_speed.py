"""Scores of two large label maps beside MONAI and surface-distance, in one run.

Run with `pytest tests/benchmarks/test_metric_speed.py --benchmark-only`; the peers are measured where they are
installed (MONAI, and surface-distance from DeepMind's repository).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from autoseg.imaging.grid import Triple
from autoseg.metrics.overlap import dice
from autoseg.metrics.surface import surface_distances

SHAPE = (400, 512, 512)
SPACING_MM: Triple = (1.0, 0.7, 0.7)
ORGANS = tuple(range(1, 8))
Labels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def pair() -> tuple[Labels, Labels]:
    """Truth and prediction: seven wavy ellipsoids of 20 to 1600 ml, the second shifted and wavier."""
    return _map(0.0, 0.08), _map(4.0, 0.12)


def _map(shift: float, waves: float) -> Labels:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    places = [(200, 200, 160), (200, 300, 380), (180, 220, 300), (260, 330, 250), (120, 240, 200)]
    places += [(300, 180, 260), (90, 330, 330)]
    radii = [(90, 110, 100), (50, 45, 35), (60, 50, 70), (100, 14, 14), (25, 18, 18), (30, 60, 30), (45, 40, 40)]
    for value, (place, radius) in enumerate(zip(places, radii, strict=True), start=1):
        box = tuple(slice(max(0, c - 2 * r), c + 2 * r) for c, r in zip(place, radius, strict=True))
        z, y, x = np.ogrid[tuple(slice(b.start, min(b.stop, n)) for b, n in zip(box, SHAPE, strict=True))]
        at = [(g - c - shift) / r for g, c, r in zip((z, y, x), place, radius, strict=True)]
        inside = sum(a**2 for a in at) < 1 + waves * np.sin(0.3 * z) * np.cos(0.25 * y) * np.sin(0.2 * x)
        labels[box][inside] = value
    return labels


def one_hot(labels: Labels, value: int) -> Any:
    import torch

    return torch.from_numpy(np.stack([labels != value, labels == value])[None])


def ours(truth: Labels, found: Labels) -> list[float]:
    distances = surface_distances(found, truth, ORGANS, SPACING_MM, threads=2).values()
    return [v for d in distances if d for v in (d.hausdorff_mm(95), d.share_within(2.0), d.average_mm)]


def monai_distances(truth: Labels, found: Labels) -> list[float]:
    metrics = pytest.importorskip("monai.metrics")
    how = {"include_background": False, "spacing": SPACING_MM}
    values = []
    for value in ORGANS:
        a, b = one_hot(found, value), one_hot(truth, value)
        values.append(metrics.compute_hausdorff_distance(a, b, percentile=95, **how).item())
        values.append(metrics.compute_surface_dice(a, b, [2.0], **how).item())
        values.append(metrics.compute_average_surface_distance(a, b, symmetric=True, **how).item())
    return values


def surface_distance(truth: Labels, found: Labels) -> list[float]:
    peer = pytest.importorskip("surface_distance")
    values = []
    for value in ORGANS:
        distances = peer.compute_surface_distances(truth == value, found == value, SPACING_MM)
        values.append(peer.compute_robust_hausdorff(distances, 95))
        values.append(peer.compute_surface_dice_at_tolerance(distances, 2.0))
        values.append(sum(peer.compute_average_surface_distance(distances)) / 2)
    return values


def monai_dice(truth: Labels, found: Labels) -> list[float]:
    metrics, torch = pytest.importorskip("monai.metrics"), pytest.importorskip("torch")
    a, b = (
        torch.nn.functional.one_hot(torch.from_numpy(m).long(), 8).permute(3, 0, 1, 2)[None].to(torch.uint8)
        for m in (found, truth)
    )
    return [float(v) for v in metrics.compute_dice(a, b, include_background=False)[0]]


def our_dice(truth: Labels, found: Labels) -> list[float]:
    return [v or 0.0 for v in dice(found, truth, ORGANS).values()]


@pytest.mark.parametrize("score", [our_dice, monai_dice, ours, surface_distance, monai_distances])
def test_seven_organs_of_a_large_ct(
    benchmark: Any, pair: tuple[Labels, Labels], score: Callable[[Labels, Labels], list[float]]
) -> None:
    found = benchmark.pedantic(score, args=pair, rounds=3 if score in (ours, our_dice) else 1, warmup_rounds=0)
    assert len(found) in (7, 21)
    if score is monai_distances:
        assert found == pytest.approx(ours(*pair), rel=1e-5)
