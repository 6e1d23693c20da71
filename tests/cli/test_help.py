"""Tests of what --help and Tab show: whole words at any width, brackets as they are, every verb."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from command_line import Cli

from autoseg.cli.app import app

VERBS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_the_window_and_no_word_is_cut(
    verb: str, width: int, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, text, _ = cli(*[verb] * bool(verb), "--help")
    assert code == 0
    assert max(map(len, text.splitlines())) <= width
    assert not re.search(r"\w…|\w\.\.\.\s", text)
    shown = " ".join(text.split())
    asked = [param.help for param in VERBS[verb].params] if verb else [v.short_help for v in VERBS.values()]
    for sentence in asked:
        assert without_spaces(sentence) in without_spaces(shown)  # a line may break after a hyphen


def without_spaces(text: str) -> str:
    return "".join(text.split())


def test_help_shows_brackets_as_they_are(cli: Cli) -> None:
    assert "'.[dicom]'" in cli("predict", "--help")[1]


def test_a_tab_completes_the_verb(tmp_path: Path) -> None:
    script = tmp_path / "autoseg"  # the name decides what the shell is asked by
    script.write_text("from autoseg.cli.app import main\nmain()\n", encoding="utf-8")
    asked = {"_AUTOSEG_COMPLETE": "complete_bash", "COMP_WORDS": "autoseg pre", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["preprocess", "predict"]
