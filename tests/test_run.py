"""Tests of autoseg.run: where the files of a RUN lie."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import autoseg.run
from autoseg.errors import RunError
from autoseg.report_folder import ReportFolder
from autoseg.run import FoldFolder, Run


def test_folds_are_told_by_their_models_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("fold-10", "fold-2", "fold-0", "fold-old"):
        (tmp_path / name).mkdir()
    for name in ("fold-10", "fold-2", "fold-old"):
        (tmp_path / name / "model.autoseg").touch()
    assert Run(tmp_path).folds() == (2, 10)
    assert [*Run(tmp_path).fold_folders()] == [0, 2, 10]
    assert Run(tmp_path).fold_folders()[10] == FoldFolder(tmp_path / "fold-10")


def test_a_report_replaces_its_tables_and_charts_and_keeps_pictures_of_cases(tmp_path: Path) -> None:
    replaced = {"table1_training.csv", "metrics_testing.md", "statistics.csv", "curves.svg", "dice.png", "volumes.svg"}
    own = ("notes.txt", "table2_testing.xlsx", "dice.pptx", "flow.docx", "metrics_notes.txt")
    (tmp_path / "cases").mkdir()
    (tmp_path / "metrics_old.csv").mkdir()
    for name in (*replaced, "report.html", "cases/a.webp", *own):
        (tmp_path / name).touch()
    assert {file.name for file in ReportFolder(tmp_path).tables_and_charts(["flow"])} == replaced


def test_a_folder_without_plan_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"not a RUN \(no plan\.json\); make one with"):
        Run(tmp_path).plan()


OWNERS = ("run.py", "report_folder.py")


def file_names() -> set[str]:
    """Return the names of files and folders that autoseg.run and autoseg.report_folder join to a folder."""
    trees = [ast.parse((Path(autoseg.__file__).parent / name).read_text(encoding="utf-8")) for name in OWNERS]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    joined = [node.right for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
    return {str(node.value) for node in joined if isinstance(node, ast.Constant)}


def test_no_other_module_joins_a_name_that_autoseg_run_knows() -> None:
    names = file_names()
    assert {"plan.json", "model.autoseg", "predictions", "report.html"} <= names
    package = Path(autoseg.__file__).parent
    for file in package.rglob("*.py"):
        if (file.parent == package and file.name in OWNERS) or file.parent.name == "phantom":
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        joins = [node.right for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
        found = {str(node.value) for node in joins if isinstance(node, ast.Constant)} & names
        assert found <= {"dataset.json"}, file  # a dataset has a file of that name, too


def test_a_run_holds_its_first_stage_and_later_ones_lie_in_folders_of_their_own() -> None:
    run = Run(Path("RUN"))
    assert run.stage(0).cache == run.cache == Path("RUN/cache")
    assert run.stage(1).cache == Path("RUN/stage-1/cache")
    assert run.stage(1).fold(2).model == Path("RUN/stage-1/fold-2/model.autoseg")
