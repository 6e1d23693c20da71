"""The docs say what the program does: verbs, options, plan keys, columns, links."""

from __future__ import annotations

import configparser
import doctest
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from pydantic import BaseModel

import autoseg
from autoseg.cli.app import app
from autoseg.dataset.load import load_dataset
from autoseg.dataset.statements import statements
from autoseg.evaluation import scores, statistics
from autoseg.network.build import NETWORKS
from autoseg.network.losses import LOSSES
from autoseg.plan import Plan
from autoseg.report import performance
from autoseg.training import log

ROOT = Path(__file__).parents[1]
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
METHOD = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = [name for _, name, _ in pkgutil.walk_packages(autoseg.__path__, "autoseg.") if not name.endswith("__main__")]
VERBS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OPTIONS = [(verb, p) for verb, command in VERBS.items() for p in command.params if p.param_type_name == "option"]
HOW_TO_JSON = re.findall(
    r"^```json\n(.*?)^```", (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|tmp|root|home)\b")


def section(verb: str) -> str:
    found = re.search(rf"^### {verb}\n(.*?)(?=^##)", REFERENCE, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def plan_keys(part: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in part.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from plan_keys(field.annotation, f"{prefix}{name}.")
        for inner in get_args(field.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not part:
                yield from plan_keys(inner, f"{prefix}{name}[].")


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_help_with_an_example_and_a_section_in_the_reference(verb: str) -> None:
    assert re.search(rf"^Example: autoseg {verb}\b", VERBS[verb].help, re.MULTILINE)
    assert f"autoseg {verb}" in section(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_a_synopsis_names_only_options_that_the_verb_has(verb: str) -> None:
    synopsis = re.search(r"```\n(.*?)```", section(verb), re.DOTALL)
    assert synopsis
    known = {name for param in VERBS[verb].params for name in (*param.opts, *param.secondary_opts)}
    assert set(re.findall(r"(?<![\w-])--[a-z-]+", synopsis[1])) <= known


@pytest.mark.parametrize(("verb", "option"), [pytest.param(v, p, id=f"{v} {p.opts[-1]}") for v, p in OPTIONS])
def test_an_option_has_help_and_stands_in_the_reference_under_its_verb(verb: str, option: Any) -> None:
    assert option.help
    for name in option.opts:
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", section(verb)), name


@pytest.mark.parametrize("key", list(plan_keys(Plan)))
def test_a_key_of_the_plan_stands_in_the_reference(key: str) -> None:
    assert f"\n| `{key}` |" in REFERENCE


@pytest.mark.parametrize("column", [*scores.COLUMNS, *log.COLUMNS, *statistics.COLUMNS, *performance.COLUMNS])
def test_a_column_stands_in_the_reference(column: str) -> None:
    assert f"\n| `{column}` |" in REFERENCE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("folder", [*(page.name for page in ROOT.glob("*.md")), "docs", "autoseg"])
def test_no_machine_paths(folder: str) -> None:
    start = ROOT / folder
    files = [start] if start.is_file() else [f for s in ("*.md", "*.py", "*.jinja") for f in start.rglob(s)]
    assert files
    assert not [f"{f}: {m}" for f in files for m in MACHINE_PATH.findall(f.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("kind", [*LOSSES, *NETWORKS])
def test_the_method_has_a_row_for_every_loss_and_network(kind: str) -> None:
    assert re.search(rf"^\| `{kind}` \|", METHOD, re.MULTILINE)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_give_what_they_say(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("text", HOW_TO_JSON, ids=lambda text: text[:30])
def test_a_dataset_json_of_the_how_to_is_read_as_it_stands(text: str, tmp_path: Path) -> None:
    meta = json.loads(text)
    if "labels" not in meta:
        assert set(meta) == set(statements(meta))  # what a reviewer asks for
        return
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    for folder, name in (("imagesTr", "{}_0000.nii.gz"), ("labelsTr", "{}.nii.gz")):
        (tmp_path / folder).mkdir()
        for case in ("case7", "case9"):
            (tmp_path / folder / name.format(case)).touch()
    dataset = load_dataset(tmp_path)
    assert len(dataset.channels) == len(meta.get("channel_names") or meta["modality"])
    named = {name for pair in meta["labels"].items() for name in pair if isinstance(name, str)}
    assert {label.name for label in dataset.labels} < named
    values = [value if isinstance(value, list) else [value] for value in meta["labels"].values()]
    assert (dataset.regions is not None) == any(len(one) > 1 for one in values)
    assert dataset.ignored == meta["labels"].get("ignore")
    shown = {case.id: [label.name for label in dataset.labels if case.shows(label.value)] for case in dataset.cases}
    assert all(shown[case] == organs for case, organs in meta.get("labelled", {}).items())


def test_the_citation_names_this_version_and_licence() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for field in ("version", "license"):
        assert f"\n{field}: {setup['metadata'][field]}\n" in citation
