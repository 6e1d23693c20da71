"""Statements: what a dataset.json says of how its data came about, which no image can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoseg.dataset.metadata import read_metadata
from autoseg.dataset.origin import read_origin
from autoseg.errors import DatasetError
from autoseg.run import Run

LONGEST = 2000  # characters of a statement


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a dataset.json."""

    key: str  # also its place in the page: dataset-KEY
    heading: str
    others: tuple[str, ...] = ()  # keys by which datasets have it, too


FIELDS = (
    Field(key="description", heading="Description"),
    Field(key="reference", heading="Source", others=("source", "citation", "doi", "url")),
    Field(key="sites", heading="Sites and dates"),
    Field(key="release", heading="Release", others=("version", "relase")),
    Field(key="licence", heading="Licence", others=("license",)),
    Field(key="availability", heading="Where model and data can be had"),
    Field(key="design", heading="Prospective or retrospective"),
    Field(key="inclusion", heading="Inclusion and exclusion", others=("inclusion_criteria", "eligibility")),
    Field(key="patients", heading="Patients and their cases"),
    Field(key="sample_size", heading="How the number of cases was chosen"),
    Field(key="acquisition", heading="Acquisition", others=("protocol", "scanners")),
    Field(key="ethics", heading="Ethics approval"),
    Field(key="deidentification", heading="De-identification", others=("de-identification", "anonymization")),
    Field(key="reference_standard", heading="Reference standard", others=("ground_truth",)),
    Field(key="reference_standard_reason", heading="Why this reference standard"),
    Field(key="annotators", heading="Annotators"),
    Field(key="annotation_tool", heading="How the contours were drawn", others=("annotation",)),
    Field(key="registration", heading="Trial registration"),
    Field(key="funding", heading="Funding"),
)


def statements(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return what a dataset.json says, by key of `FIELDS`; what is neither text nor a list of texts is left out.

    >>> statements({"license": "CC BY 4.0", "reference": " ", "annotators": ["two radiologists", "a student"]})
    {'licence': 'CC BY 4.0', 'annotators': 'two radiologists; a student'}
    """
    texts = {field.key: [_text(meta.get(key)) for key in (field.key, *field.others)] for field in FIELDS}
    return {key: next(filter(None, said)) for key, said in texts.items() if any(said)}


def statements_of(run: Run) -> dict[str, str]:
    """Return what the dataset.json of a run's dataset says; nothing where there is none, or the dataset is gone."""
    path = run.folder / str(read_origin(run).get("dataset", ""))
    file = (path if path.is_dir() else path.parent) / "dataset.json"
    if file == run.dataset_file or not file.is_file():
        return {}
    try:
        return statements(read_metadata(file))
    except DatasetError:
        return {}


def _text(value: object) -> str:
    parts = value if isinstance(value, list) else [value]
    texts = [" ".join(str(part).split()) for part in parts if isinstance(part, str | int | float)]
    text = "; ".join(filter(None, texts)) if len(texts) == len(parts) else ""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
