"""Tests of autoseg.report.case_pictures: which pictures are drawn again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import made
import pytest

from autoseg.dataset.load import Case
from autoseg.errors import VolumeError
from autoseg.figures.canvas import Undrawn, try_to_draw
from autoseg.labels import Label
from autoseg.pool import untracked
from autoseg.report import pictures
from autoseg.report.case_pictures import CaseWork, Drawings, View
from autoseg.report_folder import ReportFolder

A, B = ("mask a", "image a"), ("mask b", "image b")


def view_of(picture: Path) -> View:
    return View(kind="case", case="a", file=picture.with_suffix(""), caption="")


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    (folder / "organs").mkdir(parents=True)
    for name in ("v. cava_worst.png", "v. cava_worst.webp", "liver_only.webp", "notes.txt"):
        (folder / "organs" / name).touch()
    return folder


def test_a_picture_is_known_by_what_it_was_drawn_from_as_long_as_it_is_there(report: Path) -> None:
    picture = report / "organs" / "liver_only.webp"
    assert not Drawings(ReportFolder(report)).has(view_of(picture), A)
    Drawings(ReportFolder(report)).remember([(view_of(picture), A)])
    assert Drawings(ReportFolder(report)).has(view_of(picture), A)
    assert not Drawings(ReportFolder(report)).has(view_of(picture), B)
    picture.unlink()
    assert not Drawings(ReportFolder(report)).has(view_of(picture), A)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_picture_that_was_cut_short_or_changed_is_drawn_again(report: Path, suffix: str) -> None:
    view = replace(view_of(report / "organs" / "liver_only"), kind="overlay")
    for file in view.files:
        file.write_bytes(b"whole")
    Drawings(ReportFolder(report)).remember([(view, A)])
    assert Drawings(ReportFolder(report)).has(view, A)
    (report / "organs" / f"liver_only{suffix}").write_bytes(b"who")
    assert not Drawings(ReportFolder(report)).has(view, A)


def test_where_image_and_label_are_not_known_the_mask_decides(report: Path) -> None:
    picture = report / "organs" / "liver_only.webp"
    Drawings(ReportFolder(report)).remember([(view_of(picture), A)])
    assert Drawings(ReportFolder(report)).has(view_of(picture), ("mask a", None))
    assert not Drawings(ReportFolder(report)).has(view_of(picture), ("mask b", None))


def test_whatever_decides_on_a_picture_makes_it_be_drawn_again(tmp_path: Path) -> None:
    mask, label, image = (tmp_path / name for name in ("mask", "label", "image"))
    for file in (mask, label, image):
        file.write_text("1")
    case = Case(id="a", images=(image,), label=label, patient="a")
    plan = made.plan()
    view = View(kind="overlay", case="a", file=tmp_path / "liver_worst", caption="", organ=plan.labels[0])
    work = CaseWork(case=case, mask=mask, plan=plan, views=(view,))
    renamed = plan.model_copy(update={"labels": (Label(value=1, name="another"), *plan.labels[1:])})
    sources = [
        work.sources(view),
        work.sources(replace(view, kind="errors")),
        work.sources(replace(view, organ=plan.labels[1])),
        replace(work, plan=renamed).sources(view),
    ]
    for file in (mask, label, image):
        file.write_text("another")
        sources.append(work.sources(view))
    assert len(set(sources)) == len(sources)


def test_pictures_that_are_gone_are_forgotten(report: Path) -> None:
    picture, other = report / "organs" / "liver_only.webp", report / "organs" / "v. cava_worst.webp"
    Drawings(ReportFolder(report)).remember([(view_of(picture), A), (view_of(other), B)])
    picture.unlink()
    Drawings(ReportFolder(report)).remember([])
    picture.touch()
    assert not Drawings(ReportFolder(report)).has(view_of(picture), A)
    assert Drawings(ReportFolder(report)).has(view_of(other), B)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "\xff", '{"organs/liver_only.webp": "a"}', '{"organs/liver_only.webp": null}']
)
def test_notes_that_cannot_be_read_mean_that_nothing_is_drawn(report: Path, text: str) -> None:
    (report / "drawn.json").write_text(text, encoding="latin-1")
    assert not Drawings(ReportFolder(report)).has(view_of(report / "organs" / "liver_only.webp"), A)


def test_pictures_of_an_earlier_report_are_removed(report: Path) -> None:
    Drawings(ReportFolder(report)).keep_only({report / "organs" / "v. cava_worst"})
    assert {file.name for file in (report / "organs").iterdir()} == {
        "v. cava_worst.png", "v. cava_worst.webp", "notes.txt",
    }  # fmt: skip


def test_the_pictures_of_one_case_are_shared_among_processes_and_its_failure_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = tuple(View(kind="overlay", case="a", file=tmp_path / str(n), caption="") for n in range(9))
    case = Case(id="a", images=(tmp_path / "i.nii",), label=tmp_path / "l.nii", patient="a")
    work = CaseWork(case=case, mask=tmp_path / "m.nii", plan=made.plan(), views=views)
    seen: list[tuple[View, ...]] = []

    def draw(one: CaseWork) -> None:
        seen.append(one.views)
        raise VolumeError("no")

    monkeypatch.setattr(pictures, "draw_case", draw)
    failed = pictures._draw_all({"a": work}, Drawings(ReportFolder(tmp_path)), 1, untracked)
    assert failed == {"a": "no"}
    assert len(seen) > 1
    assert [view for part in seen for view in part] == list(views)


def test_a_picture_that_cannot_be_drawn_is_named_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    report = ReportFolder(tmp_path)
    views = tuple(View(kind="overlay", case="a", file=report.organs / name, caption="") for name in ("good", "bad"))
    case = Case(id="a", images=(tmp_path / "i.nii",), label=tmp_path / "l.nii", patient="a")
    work = CaseWork(case=case, mask=tmp_path / "m.nii", plan=made.plan(), views=views)
    report.organs.mkdir()
    for file in (*case.images, case.label, work.mask):
        file.touch()

    def draw(_: CaseWork) -> dict[Path, Undrawn]:
        cannot = try_to_draw(lambda: [1.0][2])
        assert isinstance(cannot, Undrawn)
        for suffix in (".webp", ".png"):
            (report.organs / f"good{suffix}").touch()
        return {report.organs / "bad": cannot}

    monkeypatch.setattr(pictures, "draw_case", draw)
    caplog.set_level("DEBUG", "autoseg")
    drawings = Drawings(report)
    failed = pictures._draw_all({"a": work}, drawings, 1, untracked)
    assert list(failed) == ["a"]
    assert failed["a"].startswith("organs/bad cannot be drawn (IndexError: list index out of range)")
    assert "Traceback" in caplog.text
    assert [work.has_drawn(view, drawings) for view in views] == [True, False]


def test_only_what_drawing_finds_wrong_counts_as_not_drawn() -> None:
    def refuse(error: Exception) -> None:
        raise error

    assert isinstance(try_to_draw(lambda: refuse(ValueError("no\nlevel"))), Undrawn)
    assert try_to_draw(lambda: 3) == 3
    for error in (VolumeError("cut"), OSError("full"), MemoryError()):
        with pytest.raises(type(error)):
            try_to_draw(lambda error=error: refuse(error))  # type: ignore[misc]


def test_a_chart_that_cannot_be_drawn_is_named_and_the_others_are_drawn() -> None:
    def fail() -> None:
        raise ZeroDivisionError("division by zero")

    charts, notes = pictures._charts({"curves": fail, "dice": lambda: None})
    assert charts == {"curves": None, "dice": None}
    assert len(notes) == 1
    assert notes[0].startswith("A chart is not drawn: curves cannot be drawn (ZeroDivisionError: division by zero)")
