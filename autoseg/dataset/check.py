"""What is odd about a dataset: each case by itself, and each held against the others.

Outliers are told by median and median absolute deviation, which a few bad cases cannot move. What a case shows by
itself is found where it is read (examine.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from autoseg.dataset.check_channels import channel_findings
from autoseg.dataset.check_files import unused_files
from autoseg.dataset.check_images import axis_codes, image_findings, is_ct, looks_like_hu
from autoseg.dataset.check_organs import organ_findings
from autoseg.dataset.check_twins import twin_findings
from autoseg.dataset.examine import Examination
from autoseg.dataset.facts import CaseFacts
from autoseg.dataset.findings import Finding, in_order, write_check
from autoseg.dataset.load import Dataset

__all__ = ["all_findings", "axis_codes", "check_cohort", "is_ct", "looks_like_hu", "write_check"]


def all_findings(examinations: Sequence[Examination], dataset: Dataset) -> list[Finding]:
    """Return everything that is wrong with a dataset, worst first: each case by itself and against the others."""
    alone = [finding for examination in examinations for finding in examination.findings]
    facts = [examination.facts for examination in examinations if examination.facts is not None]
    return in_order([*alone, *check_cohort(facts, dataset), *unused_files(dataset)])


def check_cohort(facts: Sequence[CaseFacts], dataset: Dataset) -> list[Finding]:
    """Hold the usable cases against each other."""
    if not facts:
        return []
    rules = (organ_findings, twin_findings, image_findings, channel_findings)
    return [finding for rule in rules for finding in rule(facts, dataset)]
