"""How NiiVue, which draws the pages of `view`, comes to be here."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from fakes import fake_niivue

from autoseg.errors import AutosegError
from autoseg.report import viewer
from autoseg.report.viewer import NOTICE_NAME, SCRIPT_NAME, niivue_file


def tarball(script: str) -> bytes:
    facts = {
        "name": "@niivue/niivue",
        "version": viewer.VERSION,
        "license": "BSD-2-Clause",
        "homepage": "https://example.org/niivue",
        "dependencies": {"part-one": "1"},
    }
    files = {"package/dist/niivue.umd.js": script, "package/package.json": json.dumps(facts), "../outside": "no"}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder without NiiVue, and a PATH on which only fake programs lie."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(viewer, "BUNDLED", tmp_path / "nothing" / SCRIPT_NAME)
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    return tmp_path / "home"


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, commands: str, package: bytes = b"") -> None:
    programs = folder / "programs"
    programs.mkdir()
    (programs / "package.tgz").write_bytes(package)
    file = programs / "npm"
    file.write_text(f"#!/bin/sh\n{commands}\n", encoding="utf-8")
    file.chmod(0o755)
    monkeypatch.setattr(viewer, "TARBALL_SHA512", hashlib.sha512(package).hexdigest())


def giving(folder: Path) -> str:
    asked = f"pack --ignore-scripts @niivue/niivue@{viewer.VERSION}"
    return f'test "$*" = "{asked}" && /bin/cp {folder}/programs/package.tgz .'


def test_niivue_is_fetched_once_and_then_kept(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path, monkeypatch, giving(tmp_path), tarball("let niivue;"))
    monkeypatch.setattr(viewer, "SCRIPT_SHA256", hashlib.sha256(b"let niivue;").hexdigest())
    file = niivue_file()
    assert file.is_relative_to(home)
    assert file.read_text(encoding="utf-8") == "let niivue;"
    notice = file.with_name(NOTICE_NAME).read_text(encoding="utf-8")
    for part in ("@niivue/niivue", viewer.VERSION, "BSD-2-Clause", "https://example.org/niivue", "part-one"):
        assert part in notice
    assert sorted(one.name for one in file.parent.iterdir()) == sorted([SCRIPT_NAME, NOTICE_NAME])
    (tmp_path / "programs" / "npm").unlink()
    assert niivue_file() == file  # now without npm
    file.write_text("damaged", encoding="utf-8")
    with pytest.raises(AutosegError, match="npm, which would fetch it, is missing"):
        niivue_file()


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (None, "npm, which would fetch it, is missing; install Node.js and run this once with a network"),
        ("echo 'npm error code ENOTFOUND' >&2; exit 1", "npm said 'npm error code ENOTFOUND'; install Node.js"),
        ("exit 0", "npm said 'nothing'"),
        ("echo other > other.tgz", "npm gave another file than the @niivue/niivue"),
        ("/bin/sleep 30", "npm did not run to its end"),
    ],
)
@pytest.mark.usefixtures("home")
def test_what_keeps_niivue_away_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: str | None, message: str
) -> None:
    monkeypatch.setattr(viewer, "FETCH_S", 1)
    if commands is not None:
        fake_npm(tmp_path, monkeypatch, commands)
    with pytest.raises(AutosegError) as caught:
        niivue_file()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_release_can_bring_niivue_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_niivue(tmp_path / "bundled", monkeypatch)
    monkeypatch.setenv("PATH", "")
    assert niivue_file() == tmp_path / "bundled" / SCRIPT_NAME
