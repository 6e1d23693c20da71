"""Tests of autoseg.figures.flow."""

from __future__ import annotations

from pathlib import Path

from matplotlib.text import Text

from autoseg.dataset.split import Split
from autoseg.evaluation.flow import flow
from autoseg.figures.canvas import figure_bytes
from autoseg.figures.flow import flow_figure
from autoseg.report.charts import flow_picture
from autoseg.run import Run

ONE = ("1 patient", "1 case")
SIDES = [("For training", "3 patients", "4 cases"), ("For validation", *ONE), ("For testing", *ONE)]


def test_every_box_has_its_counts() -> None:
    figure = flow_figure(
        ("Found", "6 patients", "7 cases"), [("Left out: on request", *ONE)], ("Used", "5 patients", "6 cases"), SIDES
    )
    texts = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    assert "Found\n6 patients, 7 cases" in texts
    assert "Left out: on request\n1 patient, 1 case" in texts
    assert "For testing\n1 patient, 1 case" in texts
    assert figure_bytes(figure).startswith(b"\x89PNG")


def test_one_split_is_drawn_and_folds_are_not(tmp_path: Path) -> None:
    patients = {name: f"patient {name}" for name in "abc"}
    split = Split(training=("a",), validation=("b",), testing=("c",))
    picture = flow_picture(Run(tmp_path), flow(patients, {}, [], [split], ["c"]))
    assert picture is not None
    assert "For testing (used for no choice): 1 patient, 1 case" in picture.alt
    assert (tmp_path / "report" / "flow_chart.svg").is_file()
    larger = Split(training=("a", "b"), validation=(), testing=("c",))
    assert flow_picture(Run(tmp_path), flow(patients, {}, [], [split, larger], [])) is None


def test_cases_alone_are_counted_where_no_patient_is_named(tmp_path: Path) -> None:
    split = Split(training=("a",), validation=("b",), testing=("c",))
    picture = flow_picture(Run(tmp_path), flow({name: name for name in "abc"}, {}, [], [split], ["c"]))
    assert picture is not None
    assert picture.caption == "Flow of cases."
    assert "Found: 3 cases; Used: 3 cases; For training" in picture.alt
