"""Scores of real predictions beside nnU-Net's evaluator, MONAI and surface-distance, case by case.

    python -m tests.benchmarks.parity PREDICTIONS REFERENCES LABELS    # LABELS as in 1,2,3

Needs nnunetv2, monai and surface-distance installed beside autoseg. Tells the worst difference of each metric.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import surface_distance
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder_simple

from autoseg.metrics.overlap import overlap
from autoseg.metrics.surface import surface_distances

TOLERANCE_MM = 2.0
Labels = npt.NDArray[np.integer[Any]]


def main(predictions: Path, references: Path, labels: list[int]) -> None:
    nnunet = nnunet_values(predictions, references, labels)
    apart: dict[str, list[float]] = defaultdict(list)
    for file in sorted(predictions.glob("*.nii.gz")):
        image = sitk.ReadImage(str(file))
        found = sitk.GetArrayFromImage(image).astype(np.int32)
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(references / file.name))).astype(np.int32)
        z, y, x = image.GetSpacing()[::-1]
        compare_overlap(found, truth, labels, nnunet[file.name], apart)
        compare_distances(found, truth, labels, (z, y, x), apart)
    for name, values in apart.items():
        sys.stdout.write(
            f"{name}: {len(values)} values, worst difference {max(values):.2g}, mean {np.mean(values):.2g}\n"
        )


def nnunet_values(predictions: Path, references: Path, labels: list[int]) -> dict[str, dict[str, dict[str, float]]]:
    with tempfile.TemporaryDirectory() as folder:
        only = Path(folder) / "references"
        only.mkdir()
        for file in predictions.glob("*.nii.gz"):
            (only / file.name).symlink_to((references / file.name).resolve())
        out = Path(folder) / "summary.json"
        compute_metrics_on_folder_simple(str(only), str(predictions), labels, str(out), num_processes=1)
        cases = json.loads(out.read_text())["metric_per_case"]
    return {Path(case["prediction_file"]).name: case["metrics"] for case in cases}


def compare_overlap(
    found: Labels, truth: Labels, labels: list[int], nnunet: dict[str, dict[str, float]], apart: dict[str, list[float]]
) -> None:
    for label, counts in overlap(found, truth, labels).items():
        for name, value in (("Dice", counts.dice), ("IoU", counts.iou)):
            theirs = nnunet[str(label)][name]
            assert (value is None) == bool(np.isnan(theirs)), (label, name, value, theirs)
            if value is not None:
                apart[f"{name}, nnU-Net"].append(abs(value - theirs))


def compare_distances(
    found: Labels, truth: Labels, labels: list[int], spacing_mm: Any, apart: dict[str, list[float]]
) -> None:
    for label, ours in surface_distances(found, truth, labels, spacing_mm).items():
        if ours is None:
            continue
        a, b = (torch.from_numpy(np.stack([m != label, m == label])[None]) for m in (found, truth))
        how = {"include_background": False, "spacing": spacing_mm}
        peer = surface_distance.compute_surface_distances(truth == label, found == label, spacing_mm)
        pairs = {
            "HD95, MONAI": (ours.hausdorff_mm(95), compute_hausdorff_distance(a, b, percentile=95, **how)),
            "HD100, MONAI": (ours.hausdorff_mm(), compute_hausdorff_distance(a, b, **how)),
            "ASSD, MONAI": (ours.average_mm, compute_average_surface_distance(a, b, symmetric=True, **how)),
            "NSD, MONAI": (ours.share_within(TOLERANCE_MM), compute_surface_dice(a, b, [TOLERANCE_MM], **how)),
            "HD95, surface-distance": (ours.hausdorff_mm(95), surface_distance.compute_robust_hausdorff(peer, 95)),
            "NSD, surface-distance": (
                ours.share_within(TOLERANCE_MM),
                surface_distance.compute_surface_dice_at_tolerance(peer, TOLERANCE_MM),
            ),
        }
        for name, (one, other) in pairs.items():
            apart[name].append(abs(one - float(other)))


if __name__ == "__main__":  # nnU-Net starts processes that import this file
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(v) for v in sys.argv[3].split(",")])
