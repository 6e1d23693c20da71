"""The documentation site: it is built without a warning, holds every verb, key and module, and loads nothing."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from autoseg.cli.app import app

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "site"
VERBS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
LOADED = re.compile(
    r"""<(?:script|img|iframe)[^>]+src=["'](https?:)?//|<link[^>]+href=["'](https?:)?//|@import|url\(["']?http"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    for name in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, SITE / "build.py", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]  # a warning is an error
    return folder


def test_every_verb_has_its_help_on_the_site(site: Path) -> None:
    page = (site / "command-line.html").read_text(encoding="utf-8")
    for name, verb in VERBS.items():
        assert f'id="{name}"' in page
        assert all(param.opts[-1] in page for param in verb.params if param.param_type_name == "option")


def test_the_readme_is_its_first_page_and_its_links_lead_to_pages(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="tutorial.html"' in page
    assert 'href="benchmarks.html#what-these-numbers-do-not-show"' in page
    assert 'href="docs/' not in page


def test_every_module_and_the_python_interface_are_on_the_site(site: Path) -> None:
    package = ROOT / "autoseg"
    for file in package.rglob("*.py"):
        room, *rest = file.relative_to(package).with_suffix("").parts
        if not file.name.startswith("__"):
            page = (site / "api" / f"{room}.html").read_text(encoding="utf-8")
            assert ".".join((room, *rest)) in page
    assert "def load_model" in re.sub(r"<[^>]+>", "", (site / "api" / "index.html").read_text(encoding="utf-8"))


def test_every_plot_of_the_gallery_was_drawn(site: Path) -> None:
    page = (site / "gallery.html").read_text(encoding="utf-8")
    scripts = list((ROOT / "docs" / "gallery").glob("*.py"))
    assert scripts
    for script in scripts:
        assert f"_images/{script.stem}.png" in page
        assert (site / "_images" / f"{script.stem}.png").stat().st_size > 5000


def test_the_search_knows_the_words_of_every_page(site: Path) -> None:
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    assert {"tutorial", "how-to", "plan-keys", "api/planning", "gallery"} <= set(index["docnames"])
    assert "checkpoint" in index["terms"]


def test_no_page_loads_anything_from_outside(site: Path) -> None:
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 20
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []


def module_of(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, SITE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_examples_of_links_give_what_they_say() -> None:
    result = doctest.testmod(module_of("pages"))
    assert result.attempted > 0
    assert result.failed == 0


def test_a_docstring_becomes_markdown_in_which_only_code_is_markup() -> None:
    docstring = "Add a <b> of `c`.\n\nArgs:\n    a: First\n        number.\n    b: Second.\n\n>>> add(1, 2)\n3"
    assert module_of("docstrings").markdown(docstring) == (
        "Add a \\<b> of `c`.\n\n**Args**\n\n- `a`: First number.\n- `b`: Second.\n\n```pycon\n>>> add(1, 2)\n3\n```"
    )
