"""Findings: one thing each that is wrong with a dataset, with the way out; and the distance of outliers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from autoseg.dataset.load import Dataset
from autoseg.files import write_text

FEWEST = 8  # cases below which nothing is an outlier
FAR = 6.0  # robust standard deviations from the median that make an outlier
Severity = Literal["fatal", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("fatal", "warning", "note")  # worst first


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    case: str  # case id; empty: the dataset as a whole
    file: str
    code: str  # short and stable, as in "label-missing"
    severity: Severity  # fatal: the case cannot be used; warning: look at it; note: good to know
    found: str
    fix: str


def row(
    dataset: Dataset,
    case: str,
    part: Literal["image", "label"],
    code: str,
    severity: Severity,
    found: str,
    fix: str,
    channel: int = 0,
) -> Finding:
    """Return a finding about the image or label map of a case, or about the whole dataset where `case` is empty."""
    file, candidate = dataset.root, dataset.by_id.get(case)
    if candidate is not None:
        images = candidate.images
        file = candidate.label if part == "label" else images[channel % len(images)]
    return Finding(case=case, file=str(file), code=code, severity=severity, found=found, fix=fix)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings with the worst first, then by case and code."""
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.case, f.code, f.found))


def write_check(findings: Sequence[Finding], file: Path) -> None:
    """Write findings as a JSON list of rows; the file is whole or not there.

    Raises:
        OSError: If it cannot be written.
    """
    write_text(file, json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False) + "\n")


def far(values: npt.ArrayLike, least: float) -> npt.NDArray[np.float64]:
    """Return how far each value lies from the median, in robust standard deviations of at least `least`.

    >>> far([1.0, 2.0, 3.0, 4.0, 100.0], 0.0).round(1).tolist()
    [-1.3, -0.7, 0.0, 0.7, 65.4]
    """
    array = np.asarray(values, dtype=np.float64)
    offset = array - np.median(array)
    return np.asarray(offset / max(1.4826 * float(np.median(np.abs(offset))), least))
