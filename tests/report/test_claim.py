"""Tests of autoseg.report.claim: the 44 items of CLAIM 2024, answered or left to the author."""

from __future__ import annotations

import re

from report_content import content_of, scores

from autoseg.dataset.statements import FIELDS
from autoseg.report.claim import ITEMS, answered, claim, left_to_add
from autoseg.report.page import places_of, render_report
from autoseg.report.review import REVIEW

BOTH = scores(("a", "testing", "liver", 1, 0.9), ("b", "training", "liver", 1, 0.9))
PAGE = places_of(render_report(content_of(BOTH)))
EVERYTHING = PAGE | {table.name for table in REVIEW}


def test_the_items_are_numbered_as_published() -> None:
    assert len(ITEMS) == 44
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", claim(PAGE), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 45))
    named = {int(number): asks for number, asks in rows}
    anchors = {
        9: "Preprocessing",
        18: "Variability",
        22: "Model",
        33: "External testing",
        39: "Failures",
        44: "Funding",
    }
    assert all(named[number].startswith(start) for number, start in anchors.items())


def test_every_item_has_an_answer_or_says_what_to_write() -> None:
    for item in ITEMS:
        assert item.places or item.author, item.asks
        assert not item.places or item.says, item.asks


def test_places_are_those_of_the_page_and_its_tables() -> None:
    later = {"observers", "stress", "seeds", "external", "precision"}  # tables that need a verb or cases more
    said = {f"dataset-{field.key}" for field in FIELDS}
    assert {place for item in ITEMS for place in item.places} <= EVERYTHING | later | said


def test_a_run_answers_at_least_half_by_itself() -> None:
    own = EVERYTHING - {"external", "stress", "seeds", "observers", "gaps", "characteristics"} | {"precision"}
    text = claim(own)
    there = [item for item in ITEMS if answered(item, own)]
    part = sum(bool(left_to_add(item, own)) for item in there)
    assert len(there) >= 25
    assert f"The run answers {len(there) - part} of 44 items, and {part} more in part" in text
    assert text.count("**Author:**") == 44 - len(there) + part
    assert text.count("In part: ") == part
    links = re.findall(r"\(report\.html#([^)]+)\)", text)
    assert set(links) <= EVERYTHING | {"precision"}


def test_what_the_dataset_says_answers_what_only_the_author_knows() -> None:
    without = sum(bool(answered(item, PAGE)) for item in ITEMS)
    every = PAGE | {f"dataset-{field.key}" for field in FIELDS}
    assert sum(bool(answered(item, every)) for item in ITEMS) >= without + 8
    named = {place for item in ITEMS for place in item.places if place.startswith("dataset-")}
    assert named <= {f"dataset-{field.key}" for field in FIELDS}
    asked = re.findall(r"dataset\.json as `(\w+)`", claim(set()) + claim(PAGE | {"dataset-reference"}))
    assert {f"dataset-{key}" for key in asked} == named - {"dataset-licence"}
    at_best = sum(bool(answered(item, every)) and not left_to_add(item, every) for item in ITEMS)
    assert f"answers {at_best} of 44 items, and 1 more in part" in claim(every)  # limits need the author always


def test_intervals_are_claimed_only_where_there_are_any() -> None:
    few = claim(EVERYTHING)
    assert "95 % intervals" not in few
    assert few.count("needs 5 testing cases that have the organ") == 2
    assert "95 % intervals" in claim(EVERYTHING | {"precision"})


def test_an_item_that_needs_all_its_places_is_not_answered_by_one() -> None:
    internal = next(item for item in ITEMS if item.asks == "Internal testing")
    assert answered(internal, {"table2_testing"}) == ()
    assert answered(internal, {"table2_testing", "table1_training"}) == ("table2_testing", "table1_training")
