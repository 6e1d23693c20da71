"""The figures of a GPU, tried without one: at a toy size on a CPU, and the limits of time by commands that hang."""

from __future__ import annotations

import io
import math
import os
import shutil
from pathlib import Path

import pytest
from benchmarks import gpu
from benchmarks.gpu_bench import Bench, row, survived
from benchmarks.gpu_feed import measured
from benchmarks.gpu_runs import hippocampus, paces
from pytest_benchmark.fixture import BenchmarkFixture

from autoseg.processes import is_alive

HANG = "sleep 600 & echo '| row before |' $!; wait"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(out=tmp_path, runs=tmp_path / "runs", ends=math.inf, toy=True)


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of each table in Markdown, its head first."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("| "):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [rows for rows in found if rows]


@pytest.mark.parametrize("name", ["where", "steps", "variants", "layers", "memory", "feed", "predict"])
def test_a_figure_is_a_table_whose_rows_have_a_cell_for_each_column(
    name: str, bench: Bench, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoseg.network.device.repeat_exactly", lambda: None)
    gpu.measure_figure(name, bench.out, bench.runs, math.inf, toy=True)
    found = tables(capfd.readouterr().out)
    assert found
    for head, ruler, *rows in found:
        assert ruler == ["---"] * len(head)
        assert rows
        assert all(len(cells) == len(head) or cells[1] == "left out" for cells in rows)


def test_a_figure_that_hangs_is_ended_with_all_that_it_began_and_its_rows_are_kept() -> None:
    log = io.StringIO()
    how = gpu.run_within(3, ["sh", "-c", HANG], dict(os.environ), log)
    assert how == "ended for lack of time"
    words = log.getvalue().split()
    assert words[:4] == ["|", "row", "before", "|"]
    assert not is_alive(int(words[4]))


def test_a_figure_that_fails_says_so_and_leaves_the_next_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PARTS", {"first": {"one": 60, "two": 60}})
    calls = []

    def run_within(limit_s: float, command: list[str], _: object, log: io.StringIO) -> str:
        calls.append((limit_s, command[3]))
        return "failed with 1" if command[3] == "one" else "done"

    monkeypatch.setattr(gpu, "run_within", run_within)
    gpu.measure_part("first", tmp_path, tmp_path, toy=False)
    assert [name for _, name in calls] == ["one", "two"]
    text = (tmp_path / "first.md").read_text(encoding="utf-8")
    assert "one: failed with 1" in text
    assert "two: done" in text


def test_a_part_gives_a_figure_no_more_than_it_has_left_and_begins_none_in_its_last_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    limits = []

    def run_within(limit_s: float, *_: object) -> str:
        limits.append(limit_s)
        now[0] += limit_s
        return "ended for lack of time"

    monkeypatch.setattr(gpu.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(gpu, "run_within", run_within)
    monkeypatch.setattr(gpu, "PARTS", {"first": {"one": 200, "two": 100, "three": 60}})
    monkeypatch.setattr(gpu, "LIMIT_S", {"first": 310})
    gpu.measure_part("first", tmp_path, tmp_path, toy=False)
    assert limits == [200, 100]  # ten seconds are left for the third: less than it takes to begin
    assert "three\nleft out, 10 s are left" in (tmp_path / "first.md").read_text(encoding="utf-8")


def test_the_two_parts_take_at_most_twelve_minutes() -> None:
    assert sum(gpu.LIMIT_S.values()) <= 12 * 60
    assert gpu.PARTS.keys() == gpu.LIMIT_S.keys()
    assert {name for figures in gpu.PARTS.values() for name in figures} == gpu.FIGURES.keys()


def test_every_row_that_the_documentation_owes_has_a_figure_or_says_why_not() -> None:
    text = (gpu.ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    (owed,) = (rows for rows in tables(text) if rows[0] == ["figure", "command", "device, date", "result"])
    commands = [cells[1].strip("`") for cells in owed[2:]]
    names = {command.rsplit(" ", 1)[1] for command in commands if command.startswith("python -m tests.benchmarks.gpu ")}
    assert names <= gpu.FIGURES.keys()
    assert len(commands) - len([c for c in commands if c.startswith("python -m tests.benchmarks.gpu ")]) <= 1


def test_the_first_fifth_of_a_training_is_left_out_of_its_pace() -> None:
    rows = [{"seconds": s, "wait_share": w} for s, w in (("9", "1"), ("1", "0"), ("1", "0"), ("2", "0"), ("4", "0.5"))]
    assert paces(rows) == (2000.0, 1500.0, 0.25, 4000.0)  # of 8 s in all 2 were waited for


def test_a_row_that_fails_says_why_in_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    with survived("a step"):
        raise RuntimeError("no\nkernel")
    row("the next", 1)
    assert capsys.readouterr().out == "| a step | FAILED: RuntimeError: no kernel |\n| the next | 1 |\n"


def test_trainings_of_prepared_runs_are_told_with_their_dice(
    finished: Path, bench: Bench, capfd: pytest.CaptureFixture[str], benchmark: BenchmarkFixture
) -> None:  # it takes minutes, so it is one of the benchmarks
    bench.runs.mkdir()
    for name in ("hippocampus", "headneck"):
        shutil.copytree(finished, bench.runs / name, ignore=shutil.ignore_patterns("fold-*"))
    benchmark.pedantic(hippocampus, args=(bench,), rounds=1)
    measured(bench)
    (trained, plans) = tables(capfd.readouterr().out)
    assert [cells[:2] for cells in trained[2:]] == [["fold 0", "4"], ["fold 0, float32", "4"]]
    assert [cells[0] for cells in plans[2:]] == ["hippocampus", "headneck"]
    owed = (bench.out / "owed.md").read_text(encoding="utf-8")
    assert "| Dice in float32 beside bfloat16 | `python -m tests.benchmarks.gpu hippocampus` | a CPU, toy size," in owed
