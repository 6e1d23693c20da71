"""Tests of autoseg.cli.console: what the tables of the command line look like."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from rich.console import Console

from autoseg.cli import console

COLUMNS = ("Organ", "N", "nnunet (%)", "Difference (points)", "95 % interval", "p (Holm)")
ROWS = [("Mean over organs", "39", "89.17", "−0.22", "−0.89 to 0.44", "1.000")]


def printed(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setattr(console, "console", Console(highlight=False, width=width))
    console.show_table("Title.", COLUMNS, ROWS)
    return capsys.readouterr().out.splitlines()


def test_a_table_that_fits_has_one_line_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    title, head, line, row = printed(120, monkeypatch, capsys)
    assert title == "Title."
    assert head.split() == " ".join(COLUMNS).split()
    assert set(line.strip()) == {"─"}
    assert row.split() == " ".join(ROWS[0]).split()


@pytest.mark.parametrize("width", [58, 60, 70, 80])
def test_in_a_narrow_window_only_whole_words_wrap_and_nothing_is_lost(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(width, monkeypatch, capsys)
    assert max(map(len, lines)) <= width
    words = " ".join(lines[1:]).replace("─", " ").split()
    assert sorted(words) == sorted(" ".join((*COLUMNS, *ROWS[0])).split())


def test_headings_wrap_before_cells_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    *_, row = printed(72, monkeypatch, capsys)
    assert row.split() == " ".join(ROWS[0]).split()


def test_where_not_even_words_fit_they_are_folded_and_no_letter_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(40, monkeypatch, capsys)
    letters = sorted("".join(lines[1:]).replace("─", "").replace(" ", ""))
    assert letters == sorted("".join((*COLUMNS, *ROWS[0])).replace(" ", ""))


def test_importing_the_console_changes_no_logger() -> None:
    code = (
        "import logging, os; os.environ['RANK'] = '1'; import autoseg.cli.console as c; "
        "log = logging.getLogger('autoseg'); print(log.handlers, log.propagate, log.level, c.console.quiet)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True 0 False\n"


def test_warnings_are_shown_while_the_program_talks_and_nothing_is_left_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("autoseg")
    before = [*logger.handlers]
    with console.output():
        logger.warning("the scale is %s", "odd")
        logger.info("quiet")
    logger.warning("after")
    assert capsys.readouterr().err == "warning: the scale is odd\n"
    assert logger.handlers == before


def test_of_processes_that_train_together_only_the_first_talks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    with console.output():
        console.say("a line")
        logging.getLogger("autoseg").warning("a warning")
    assert capsys.readouterr() == ("", "")


def test_what_a_strange_name_tells_the_console_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("case \x1b[2Ja\u202e: [bold]x")
    assert capsys.readouterr().out == "case \\x1b[2Ja\\u202e: [bold]x\n"


def test_in_a_terminal_a_line_breaks_between_words_and_a_path_stays_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "console", Console(highlight=False, width=20, force_terminal=True))
    path = "/" + "long" * 10
    console.say(f"three cases are done -> {path}")
    assert capsys.readouterr().out.split("\n") == ["three cases are done", "->", path, ""]


def test_elsewhere_a_line_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "console", Console(highlight=False, width=20))
    console.say("three cases are done -> RUN/scores.csv")
    assert capsys.readouterr().out == "three cases are done -> RUN/scores.csv\n"


def test_the_next_command_can_be_copied(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "console", Console(highlight=False, width=20, force_terminal=True, no_color=True))
    console.say_next("predict", "my RUN", "scan[1].nii.gz")
    assert capsys.readouterr().out.endswith("autoseg predict 'my RUN' 'scan[1].nii.gz'\n")


def test_a_warning_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with console.output():
        for _ in range(3):
            logging.getLogger("autoseg").warning("the scale is odd")
    assert capsys.readouterr().err == "warning: the scale is odd\n"
