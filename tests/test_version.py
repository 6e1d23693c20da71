"""autoseg runs from a checkout that is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import autoseg
from autoseg.planning.presets import load_preset, preset_names
from autoseg.version import UNKNOWN

CHECKOUT = Path(autoseg.__file__).parents[1]


@pytest.mark.parametrize(
    ("setup", "expected"), [("[metadata]\nname = autoseg-fcn\nversion = 7.8.9\n", "7.8.9"), (None, UNKNOWN)]
)
def test_a_checkout_that_is_not_installed_knows_its_version(tmp_path: Path, setup: str | None, expected: str) -> None:
    (tmp_path / "autoseg").symlink_to(CHECKOUT / "autoseg")
    if setup is not None:
        (tmp_path / "setup.cfg").write_text(setup, encoding="utf-8")
    bare = [sys.executable, "-S", "-c", "import autoseg; print(autoseg.__version__)"]  # -S: without site-packages
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(bare, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_a_checkout_that_is_not_installed_has_its_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = preset_names(), load_preset("roth2018")
    monkeypatch.setitem(sys.modules, "autoseg_plans", None)  # as if it could not be imported
    assert (preset_names(), load_preset("roth2018")) == installed
