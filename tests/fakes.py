"""What stands in for programs and files of others in several tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from autoseg.report import viewer
from autoseg.report.viewer import NOTICE_NAME, SCRIPT_NAME


def fake_niivue(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str = "const niivue = 1;") -> None:
    """Let a made-up script be NiiVue, in the place where a release has it."""
    folder.mkdir(parents=True)
    (folder / SCRIPT_NAME).write_text(script, encoding="utf-8")
    (folder / NOTICE_NAME).write_text("Notice & licence", encoding="utf-8")
    monkeypatch.setattr(viewer, "BUNDLED", folder / SCRIPT_NAME)
    monkeypatch.setattr(viewer, "SCRIPT_SHA256", hashlib.sha256(script.encode()).hexdigest())
