"""Tests of autoseg.dataset.examination_json: a way there and back."""

from __future__ import annotations

import json
from pathlib import Path

from autoseg.dataset.examination_json import from_json, to_json
from autoseg.dataset.examine import examine_case
from autoseg.dataset.load import load_dataset


def test_an_examination_comes_back_from_json_as_it_was(cohort: Path) -> None:
    dataset = load_dataset(cohort)
    examination = examine_case(dataset.cases[0], dataset)
    assert examination.facts is not None
    assert examination.facts.organs
    assert from_json(json.loads(json.dumps(to_json(examination)))) == examination
