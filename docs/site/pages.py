"""The pages of the documentation site that are made from elsewhere: README, help, plan keys, plots."""

from __future__ import annotations

import ast
import posixpath
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer.main
from pydantic import BaseModel

from autoseg.cli.app import app
from autoseg.figures.canvas import figure_bytes
from autoseg.plan import Plan

WIDTH = 100  # characters of the help
COPIES = {  # files outside docs, and the pages that they become
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "plans/README.md": "plans.md",
}
CONTENTS = {
    "Use": ("tutorial", "how-to", "cluster", "scaling", "gallery"),
    "Reference": ("reference", "command-line", "plan-keys", "reference/metrics", "api/index"),
    "Background": ("method", "plans", "benchmarks", "experiments", "decisions", "reliability"),
    "Contribute": ("contributing", "architecture", "security", "changelog"),
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")


def contents() -> str:
    """Return the table of contents, as MyST's directives."""
    trees = ("\n".join(["```{toctree}", ":hidden:", f":caption: {name}", *CONTENTS[name], "```"]) for name in CONTENTS)
    return "\n\n" + "\n\n".join(trees) + "\n"


def linked(markdown: str, source: str, page: str) -> str:
    """Point links between files of the repository at the pages that they become.

    A link to a file that is on no page becomes its words.

    >>> linked("[a](docs/method.md#x), [b](CITATION.cff)", "README.md", "index.md")
    '[a](method.md#x), b'
    >>> linked("[c](../autoseg/data/), [d](../plans/README.md)", "docs/method.md", "method.md")
    '[c](api/data.md), [d](plans.md)'
    """
    return LINK.sub(lambda link: _linked(link, source, page), markdown)


def _linked(link: re.Match[str], source: str, page: str) -> str:
    image, words, path, anchor = link.groups()
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if target in COPIES:
        target = COPIES[target]
    elif target.startswith("docs/"):
        target = target.removeprefix("docs/")
    elif target.startswith("autoseg/"):
        target = f"api/{Path(target).name}.md"
    else:
        return words
    return f"{image}[{words}]({posixpath.relpath(target, posixpath.dirname(page) or '.')}{anchor or ''})"


def command_line() -> str:
    """Return the help of every verb."""
    group: Any = typer.main.get_command(app)
    parts = ["# Command line", "What `autoseg VERB --help` prints; the [reference](reference.md) says more of each."]
    for name, verb in group.commands.items():
        context = verb.context_class(verb, info_name=f"autoseg {name}", max_content_width=WIDTH, terminal_width=WIDTH)
        parts += [f"## {name}", f"```text\n{verb.get_help(context)}\n```"]
    return "\n\n".join(parts) + "\n"


def plan_keys(reference: str) -> str:
    """Return the keys of plan.json, each with its type and the meaning that the reference gives.

    Raises:
        KeyError: If the reference lacks a key.
    """
    meanings = dict(re.findall(r"^\| `([\w.\[\]]+)` \| (.+) \|$", reference, re.MULTILINE))
    rows = [f"| `{key}` | `{kind}` | {meanings[key]} |" for key, kind in _keys(Plan)]
    head = "Every key of `plan.json`. Change one with `autoseg plan … --set KEY=VALUE`."
    return "\n".join(["# Plan keys", "", head, "", "| key | type | meaning |", "|---|---|---|", *rows]) + "\n"


def _keys(part: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in part.model_fields.items():
        kind = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
        yield prefix + name, re.sub(r"\b(?:typing|autoseg\.plan)\.", "", kind).replace("|", "or")
        for inner, suffix in [(field.annotation, "."), *((one, "[].") for one in get_args(field.annotation))]:
            if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Plan:  # finer: the same
                yield from _keys(inner, f"{prefix}{name}{suffix}")


def gallery(scripts: Path) -> dict[str, str | bytes]:
    """Return a page of plots, each drawn now, with the code that draws it; and their pictures."""
    files: dict[str, str | bytes] = {}
    parts = ["# Gallery", "Each plot is drawn, while this page is built, by the code below it."]
    for script in sorted(scripts.glob("*.py")):
        source = script.read_text(encoding="utf-8")
        title, _, words = (ast.get_docstring(ast.parse(source)) or "").partition("\n")
        code = source.split('"""', 2)[2].strip()
        picture = f"gallery/{script.stem}.png"
        files[picture] = figure_bytes(runpy.run_path(str(script))["figure"], dpi=110)
        parts += [f"## {title.rstrip('.')}", words.strip(), f"![{title}]({picture})", f"```python\n{code}\n```"]
    return {"gallery.md": "\n\n".join(parts) + "\n", **files}
