"""The container's files, linted: pinned bases, no root, no caches, and every path that is copied exists."""

from __future__ import annotations

import configparser
import fnmatch
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from autoseg.cli.app import app

ROOT = Path(__file__).parents[1]
TEXT = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
STEPS = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and not line.startswith(("#", " "))]
KEPT = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line.startswith("!")]
VERBS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"\bautoseg(?:\.sif)? ([a-z]+)(?![\w-])([^\n`|&;]*)")


def arguments(step: str) -> list[str]:
    return [rest for name, rest in STEPS if name == step]


def copied() -> list[str]:
    """Return the paths of the checkout that the image takes."""
    steps = [shlex.split(rest) for rest in arguments("COPY") if "--from" not in rest]
    return [path for step in steps for path in step[:-1]]


def test_the_base_is_pinned_to_a_python_that_is_tested() -> None:
    bases = {rest.split()[0] for rest in arguments("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11(\.\d+)?-slim-\w+", bases.pop())


def test_every_path_that_is_copied_exists_and_reaches_the_builder() -> None:
    assert copied()
    for path in copied():
        assert (ROOT / path).exists(), path
        assert any(fnmatch.fnmatch(path, kept) for kept in KEPT), path


def test_all_that_the_package_is_built_from_is_copied() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    page = setup["metadata"]["long_description"].removeprefix("file: ")
    assert {"autoseg", "plans", "setup.cfg", "pyproject.toml", setup["metadata"]["license_files"], page} <= set(
        copied()
    )


def test_torch_is_the_one_that_the_package_accepts() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    (accepted,) = re.findall(r"^torch (.+)$", setup["options"]["install_requires"], re.MULTILINE)
    assert f'"torch{accepted}"' in TEXT


def test_the_image_keeps_no_cache_and_does_not_run_as_root() -> None:
    assert "PIP_NO_CACHE_DIR=1" in TEXT
    assert TEXT.index("PIP_NO_CACHE_DIR=1") < TEXT.index("pip install")
    last = TEXT.rindex("FROM ")
    assert "pip install" not in TEXT[last:]
    assert arguments("USER")[-1] not in ("root", "0")
    assert "sudo" not in TEXT
    assert not arguments("ADD")


def test_it_starts_the_command_itself_so_that_signals_reach_it() -> None:
    assert arguments("ENTRYPOINT") == ['["autoseg"]']  # no shell between


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_docs_have_verbs_and_options_that_exist(page: Path) -> None:
    text = re.sub(r"\\\n", " ", page.read_text(encoding="utf-8"))
    fences = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for verb, rest in (match.groups() for fence in fences for match in COMMAND.finditer(fence)):
        assert verb in VERBS, verb
        known = {name for param in VERBS[verb].params for name in (*param.opts, *param.secondary_opts)}
        words = re.sub(r"#.*", "", rest)
        assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", words)) <= known, f"{verb}{rest}"
