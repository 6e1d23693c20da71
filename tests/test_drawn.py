"""Tests of autoseg.pipeline.drawn: which pictures are drawn again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoseg.files import digest_of_sources
from autoseg.pipeline.drawn import Drawings


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    (folder / "organs").mkdir(parents=True)
    for name in ("v. cava_worst.png", "v. cava_worst.webp", "liver_only.webp", "notes.txt"):
        (folder / "organs" / name).touch()
    return folder


def test_a_picture_is_known_by_what_it_was_drawn_from_as_long_as_it_is_there(report: Path) -> None:
    picture = report / "organs" / "liver_only.webp"
    assert not Drawings(report).has(picture, "a")
    Drawings(report).remember([(picture, "a")])
    assert Drawings(report).has(picture, "a")
    assert not Drawings(report).has(picture, "b")
    picture.unlink()
    assert not Drawings(report).has(picture, "a")


def test_pictures_that_are_gone_are_forgotten(report: Path) -> None:
    picture, other = report / "organs" / "liver_only.webp", report / "organs" / "v. cava_worst.webp"
    Drawings(report).remember([(picture, "a"), (other, "b")])
    picture.unlink()
    Drawings(report).remember([])
    picture.touch()
    assert not Drawings(report).has(picture, "a")
    assert Drawings(report).has(other, "b")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_notes_that_cannot_be_read_mean_that_nothing_is_drawn(report: Path, text: str) -> None:
    (report / "drawn.json").write_text(text, encoding="latin-1")
    assert not Drawings(report).has(report / "organs" / "liver_only.webp", "a")


def test_pictures_of_an_earlier_report_are_removed(report: Path) -> None:
    Drawings(report).keep_only(("organs", "none"), {report / "organs" / "v. cava_worst"})
    assert {file.name for file in (report / "organs").iterdir()} == {
        "v. cava_worst.png", "v. cava_worst.webp", "notes.txt",
    }  # fmt: skip


def test_a_digest_changes_with_every_file_and_setting(tmp_path: Path) -> None:
    mask, label = tmp_path / "mask", tmp_path / "label"
    mask.write_text("1")
    found = [digest_of_sources((mask, label), "overlay", 3)]
    assert digest_of_sources((mask, label), "overlay", 3) == found[0]
    found += [digest_of_sources((mask, label), "overlay", 4), digest_of_sources((mask,), "overlay", 3)]
    label.write_text("1")
    found.append(digest_of_sources((mask, label), "overlay", 3))
    os.utime(mask, (1.0, 1.0))
    found.append(digest_of_sources((mask, label), "overlay", 3))
    assert len(set(found)) == len(found)
