"""Tests of autoseg.report.pictures: which cases get a picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import plan
from report_content import scores
from two_stages import FIRST, LIVER, VEIN, second

from autoseg.dataset.split import TESTING
from autoseg.evaluation.freshness import ScoreJournal
from autoseg.evaluation.two_stages import SecondLook
from autoseg.labels import Label
from autoseg.report import pictures
from autoseg.report.case_pictures import View
from autoseg.report.pictures import MANY_ORGANS, MOST_CASES, MOST_ORGANS, _framed, _looks, _sample, _views
from autoseg.run import Run


@pytest.fixture(autouse=True)
def as_many_pictures_as_users_get(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MOST_CASES": MOST_CASES, "MOST_ORGANS": MOST_ORGANS, "MANY_ORGANS": MANY_ORGANS}.items():
        monkeypatch.setattr(pictures, name, value)


def test_of_very_many_cases_the_worst_the_best_and_some_by_chance_are_drawn() -> None:
    testing = [(f"t{n:03d}", "testing", "liver", 1, n / 200) for n in range(200)]
    training = [(f"a{n:03d}", "training", "liver", 1, 0.0) for n in range(300)]
    names = [row[0] for row in (*training, *testing)]
    chosen = _sample(names, scores(*training, *testing))
    assert len(chosen) == len(set(chosen)) == MOST_CASES
    assert {f"t{n:03d}" for n in range(30)} <= set(chosen)
    assert {f"t{n:03d}" for n in range(190, 200)} <= set(chosen)
    assert chosen == [name for name in names if name in set(chosen)]
    assert any(name.startswith("a") for name in chosen)


def test_of_very_many_organs_only_those_in_the_page_are_drawn(tmp_path: Path) -> None:
    labels = tuple(Label(value=n, name=f"organ {n}") for n in range(1, MANY_ORGANS + 2))
    frame = scores(*((case, "testing", o.name, o.value, 0.9 - o.value / 100) for o in labels for case in "abc"))
    drawn = {v.organ.name for v in _views(Run(tmp_path), plan(labels=labels), frame, TESTING) if v.organ is not None}
    assert drawn == {organ.name for organ in labels[-MOST_ORGANS:]}
    few = labels[:MANY_ORGANS]
    views = _views(Run(tmp_path), plan(labels=few), frame, TESTING)
    assert len({view.organ for view in views if view.organ is not None}) == MANY_ORGANS


def test_the_box_of_a_second_stage_is_shown_with_its_organs_and_named_in_the_caption(tmp_path: Path) -> None:
    run, both = Run(tmp_path), FIRST.model_copy(update={"finer": second()})
    (tmp_path / "fold-0").mkdir()
    run.fold(0).model.touch()
    (tmp_path / "mask").touch()
    look = SecondLook(boxes=(((1, 5), (2, 6), (0, 9)),), seconds=(1.0, 1.0))
    ScoreJournal(run.fold(0).evaluated).append("a", "", tmp_path / "mask", (), look=look)
    looks = _looks(run, both, scores(("a", "testing", "vein", 9, 0.5), ("b", "testing", "vein", 9, 0.6)))
    assert looks == {"a": ((slice(1, 5), slice(2, 6), slice(0, 9)),)}
    assert not _looks(run, FIRST, scores(("a", "testing", "vein", 9, 0.5)))
    strip = View(kind="case", case="a", file=tmp_path / "a", caption="a.")
    vein, liver = (View(kind="overlay", case="a", file=tmp_path / o.name, caption="", organ=o) for o in (VEIN, LIVER))
    for view in (strip, vein):
        assert _framed(view, both, looks).looked == looks["a"]
        assert "yellow box: what the second stage saw" in _framed(view, both, looks).caption
    for view in (liver, View(kind="surfaces", case="a", file=tmp_path / "s", caption="")):
        assert _framed(view, both, looks) == view
