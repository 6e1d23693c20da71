"""Tests of autoseg.evaluation.reliability and autoseg.inference.reliability, with scikit-learn as the other one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made import scheme

from autoseg.errors import RunError
from autoseg.evaluation.reliability import (
    calibration,
    calibration_error,
    curve,
    read_reliability,
    reliability_rows,
    write_reliability,
)
from autoseg.evaluation.scores import Row
from autoseg.inference.reliability import Reliability
from autoseg.inference.upsample import Upsampler
from autoseg.labels import Label

SHAPE = (6, 7, 8)


def random_volume() -> tuple[torch.Tensor, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Probabilities of background and two organs, and a truth that goes with them."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([2.0, 1.0, 0.5], SHAPE).astype(np.float32)
    truth = np.array([[[rng.choice(3, p=p / p.sum()) for p in line] for line in plane] for plane in probabilities])
    return torch.from_numpy(np.moveaxis(probabilities, -1, 0).copy()), truth.astype(np.uint8)


def rows_of(counter: Reliability, split: str = "testing") -> list[Row]:
    about = {"fold": 0, "case": "a", "split": split, "grid": "original"}
    return [
        row
        for index, counts in counter.counts().items()
        for row in reliability_rows(Label(value=index, name=f"organ {index}"), counts, about)
    ]


def test_counts_are_the_same_slab_by_slab_and_those_of_scikit_learn(tmp_path: Path) -> None:
    metrics = pytest.importorskip("sklearn.calibration")
    probabilities, truth = random_volume()
    slabs = Upsampler(scheme(3), SHAPE, SHAPE, truth=truth)
    for start in (0, 2, 5):
        slabs.add(probabilities[:, start : {0: 2, 2: 5, 5: 6}[start]])
    whole = Reliability(scheme(3), truth)
    whole.add(probabilities, 0)
    assert slabs.reliability is not None
    assert rows_of(slabs.reliability) == rows_of(whole)

    write_reliability(rows_of(whole), tmp_path / "reliability.csv")
    counts = read_reliability(tmp_path / "reliability.csv")
    for organ in (1, 2):
        points = curve(counts[counts["label"] == organ])
        p = probabilities[organ].numpy().ravel()
        true, mean = metrics.calibration_curve((truth == organ).ravel()[p > 0.02], p[p > 0.02], n_bins=10)
        assert points["true"].to_numpy() == pytest.approx(true, abs=1e-5)
        assert points["probability"].to_numpy() == pytest.approx(mean, abs=1e-5)


def test_the_calibration_error_by_hand() -> None:
    counts = np.zeros((10, 3))
    counts[0] = [9000, 0, 300.0]  # nearly all voxels are background, and are not counted
    counts[2] = [100, 10, 25.0]  # mean probability 0.25, right in 0.10: a gap of 0.15
    counts[9] = [300, 294, 288.0]  # 0.96 and 0.98: a gap of 0.02
    rows = reliability_rows(Label(value=1, name="liver"), counts, {"fold": 0, "case": "a", "split": "testing"})
    frame = pd.DataFrame(rows)
    assert calibration_error(curve(frame[frame["bin"] > 0])) == pytest.approx((100 * 0.15 + 300 * 0.02) / 400)
    (row,) = calibration(frame, ["testing"]).to_numpy().tolist()
    assert row == ["liver", 0.4, *map(pytest.approx, (100 * 313 / 400, 100 * 304 / 400, 5.25))]
    assert calibration(frame, ["training"]).empty


def test_a_run_of_before_has_no_counts_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert read_reliability(tmp_path / "reliability.csv").empty
    (tmp_path / "reliability.csv").write_text("fold,case\n0,a\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"reliability.csv: is damaged"):
        read_reliability(tmp_path / "reliability.csv")


def test_cases_and_organs_that_look_like_numbers_stay_texts(tmp_path: Path) -> None:
    about = {"fold": 0, "split": "testing", "label": 1, "bin": 2, "voxels": 3, "true_voxels": 1, "probability": 0.25}
    rows: list[Row] = [{**about, "case": name, "organ": f"{name}.10"} for name in ("001", "1")]
    write_reliability(rows, tmp_path / "reliability.csv")
    counts = read_reliability(tmp_path / "reliability.csv")
    assert counts[["case", "organ"]].to_numpy().tolist() == [["001", "001.10"], ["1", "1.10"]]


def test_masks_are_the_same_with_and_without_counting() -> None:
    probabilities, truth = random_volume()
    with_counts, without = (Upsampler(scheme(3), SHAPE, (12, 14, 16), truth=known) for known in (truth, None))
    for one in (with_counts, without):
        one.add(probabilities)
    np.testing.assert_array_equal(with_counts.mask, without.mask)
    assert without.reliability is None
