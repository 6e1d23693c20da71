"""What the explanation of a plan needs to know, and how it writes numbers and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.dataset.findings import Finding
from autoseg.dataset.fingerprint import Fingerprint
from autoseg.dataset.split import Split
from autoseg.planning.budget import Budget, StepCost
from autoseg.planning.planner import Ceilings


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the explanation needs beside the decision."""

    fingerprint: Fingerprint
    budget: Budget
    findings: Sequence[Finding]
    ceilings: Ceilings | None
    cases: int  # that will be cached, testing cases included
    cache_bytes: int  # on the disk
    splits: Sequence[Split]
    unlisted: Sequence[str] = ()  # usable cases that are in no side of the split
    measured: StepCost | None = None
    corrected: bool = False  # whether the measured memory made the plan smaller
    training_s: float | None = None  # that the steps fit; None: their number does not follow from the time


def by(values: Sequence[float], digits: int = 2) -> str:
    """Return numbers as text, joined by ×; floats with at most `digits` decimals."""
    return " × ".join(
        f"{v:.{digits}f}".rstrip("0").rstrip(".") if digits and isinstance(v, float) else f"{v:.0f}" for v in values
    )


def text(name: str) -> str:
    """Return a name as Markdown shows it."""
    return name.replace("|", "\\|").replace("<", "&lt;")
