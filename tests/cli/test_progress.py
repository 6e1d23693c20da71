"""Tests of autoseg.cli.progress: bars in a terminal, lines elsewhere, and both of them in the log."""

from __future__ import annotations

import io
import logging
import queue
from dataclasses import replace

import pytest
from rich.console import Console

from autoseg.cli import console, progress
from autoseg.cli.progress import Display
from autoseg.training.loop import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    screen = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=screen, force_terminal=True, width=80, highlight=False))
    monkeypatch.delenv("TERM", raising=False)
    return screen


def after(iteration: int, is_examined: bool = False, dice: float = float("nan")) -> Progress:
    return Progress(iteration=iteration, iterations=100, loss=0.5, dice={"liver": dice}, is_examined=is_examined)


def test_without_a_terminal_a_line_tells_each_minute_how_many_are_done(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in Display().track(range(10), "Checking", 10):
        clock.now += 25.0
    assert capsys.readouterr().out.splitlines() == [
        "Checking: 3 of 10, 3 min left",  # 75 s for 3: 7 more take 175 s
        "Checking: 6 of 10, 2 min left",
        "Checking: 9 of 10, 25 s left",
    ]


def test_what_cannot_be_counted_is_told_soon_and_then_each_minute(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    monkeypatch.setattr(progress, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(console, "say", said.put)
    display = Display()
    with display.shown("Starting"):
        display.phase("Planning")
        clock.now += 11.0
        assert said.get(timeout=60) == "Planning: under way for 11 s"  # by the thread that looks
        clock.now += 30.0
        display.phase("Reporting")
        clock.now += 11.0
        assert said.get(timeout=60) == "Reporting: under way for 11 s"
        clock.now += 61.0
        assert said.get(timeout=60) == "Reporting: under way for 1 min"
    assert said.empty()


def test_training_tells_the_first_iteration_each_examination_and_each_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Display().training() as tell:
        for iteration in range(1, 11):
            clock.now += 20.0
            examined = iteration == 5
            tell(0, after(iteration, examined, 0.75 if iteration >= 5 else float("nan")))
    assert capsys.readouterr().out.splitlines() == [
        "fold 0: iteration 1 of 100, loss 0.500",
        "fold 0: iteration 4 of 100, loss 0.500, 32 min left",
        "fold 0: iteration 5 of 100, loss 0.500, validation Dice 0.750, 32 min left",
        "fold 0: iteration 8 of 100, loss 0.500, validation Dice 0.750, 31 min left",
    ]


def test_each_fold_is_told_from_its_own_begin(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display().training() as tell:
        tell(0, after(100))
        clock.now += 1000.0
        tell(1, after(51))
        clock.now += 60.0
        tell(1, after(75))
    *_, last = capsys.readouterr().out.splitlines()
    assert last == "fold 1: iteration 75 of 100, loss 0.500, 1 min left"  # 24 in 60 s, 25 more


def test_of_several_folds_it_is_told_which_turn_it_is(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display().training() as tell:
        tell(3, replace(after(1), turn=(2, 5)))
    assert capsys.readouterr().out == "fold 3 (2 of 5): iteration 1 of 100, loss 0.500\n"


def test_a_second_stage_is_told_from_its_own_begin(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display().training() as tell:
        tell(0, after(100))
        tell(0, replace(after(1), stage=1))
        clock.now += 60.0
        tell(0, replace(after(25), stage=1))
    assert capsys.readouterr().out.splitlines()[1:] == [
        "fold 0, second stage: iteration 1 of 100, loss 0.500",
        "fold 0, second stage: iteration 25 of 100, loss 0.500, 3 min left",  # 24 in 60 s, 75 more
    ]


def test_in_a_terminal_the_same_lines_go_to_the_log_alone(
    clock: Clock, terminal: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    display = Display()
    with caplog.at_level(logging.INFO, "autoseg"), display.shown("Starting"), display.training() as tell:
        tell(0, after(1))
        clock.now += 60.0
        tell(0, after(2, True, 0.8))
    assert [record.getMessage() for record in caplog.records] == [
        "fold 0: iteration 1 of 100, loss 0.500",
        "fold 0: iteration 2 of 100, loss 0.500, validation Dice 0.800, 1 h 38 min left",
    ]
    assert "Training fold 0: loss 0.500" in terminal.getvalue()
    assert "1/100" in terminal.getvalue()
    assert "iteration 1 of 100" not in terminal.getvalue()


def test_in_a_terminal_something_is_shown_before_anything_can_be_counted(terminal: io.StringIO) -> None:
    display = Display()
    with display.shown("Starting"):
        assert "Starting" in terminal.getvalue()
        display.phase("Planning")
        for _ in display.track(iter([1]), "Measuring", 1):
            pass
        console.say("a line above the bar")
    assert terminal.getvalue().index("Starting") < terminal.getvalue().index("a line above the bar")
    assert "0/None" not in terminal.getvalue()
    assert "Planning" in terminal.getvalue()


def test_in_a_terminal_the_phase_stays_until_the_first_iteration(terminal: io.StringIO) -> None:
    display = Display()
    with display.shown("Starting"), display.training() as tell:
        terminal.truncate(0)
        display.phase("Reading the cache")
        assert "Reading the cache" in terminal.getvalue()
        tell(0, after(1))
        terminal.truncate(0)
        display.phase("Reading on")
        assert "Reading on" not in terminal.getvalue()


def test_a_warning_stands_on_a_line_of_its_own_above_the_bar(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    with console.output(), Display().shown("Planning"):
        logging.getLogger("autoseg").warning("few iterations fit")
    before, _, after_it = terminal.getvalue().partition("warning")
    assert "\r\x1b[2K" in before.rpartition("Planning")[2]  # the bar's line was cleared first
    assert "few iterations fit" in after_it


def test_processes_that_show_themselves_have_the_terminal_alone(terminal: io.StringIO) -> None:
    display = Display()
    with display.shown("Training"):
        with display.hidden():
            before = terminal.getvalue()
            display.phase("Training more")
            assert terminal.getvalue() == before
        display.phase("Evaluating")
    assert "Evaluating" in terminal.getvalue()


def test_what_stops_half_way_leaves_no_row_behind(terminal: io.StringIO) -> None:
    display = Display()
    with display.shown("Checking"):
        for _ in display.track(iter(range(9)), "Counting", 9):
            break
        terminal.truncate(0)
        display.phase("Checking on")
    assert "Counting" not in terminal.getvalue()
