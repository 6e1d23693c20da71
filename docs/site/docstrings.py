"""The API as Markdown: what stands in the docstrings of the package, read without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SECTION = re.compile(r"(?:Args|Returns|Yields|Raises|Attributes):")
ITEM = re.compile(r"(\*{0,2}[\w.]+): (.*)", re.DOTALL)
CODE = re.compile(r"(`[^`]*`)")
Node = ast.ClassDef | ast.FunctionDef


def api_pages(package: Path) -> dict[str, str]:
    """Return a page for each room of a package, by its name, and one that lists them, "index"."""
    rooms: dict[str, list[Path]] = {}
    for file in sorted(package.rglob("*.py")):
        if not file.name.startswith("__"):
            rooms.setdefault(file.relative_to(package).parts[0].removesuffix(".py"), []).append(file)
    pages = {room: _room_page(package, room, files) for room, files in rooms.items()}
    parts = ["# API", "What a program imports. The rooms below are for those who change autoseg.", "## autoseg"]
    parts += [*_members(package / "__init__.py", 3), "## Rooms", "\n".join(f"- [{room}]({room}.md)" for room in rooms)]
    toctree = "\n".join(["```{toctree}", ":hidden:", *rooms, "```"])
    return {"index": "\n\n".join([*parts, toctree]) + "\n", **pages}


def _room_page(package: Path, room: str, files: list[Path]) -> str:
    parts = [f"# {room}", *_described(package / room / "__init__.py")]
    for file in files:
        name = ".".join(file.relative_to(package).with_suffix("").parts)
        parts += _members(file, 2) if name == room else [f"## {name}", *_members(file, 3)]
    return "\n\n".join(parts) + "\n"


def _described(file: Path) -> Iterator[str]:
    """Yield what a room that is a folder says of itself."""
    if file.is_file():
        yield markdown(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "")


def _members(file: Path, level: int) -> Iterator[str]:
    """Yield the docstring of a module, then those of what it offers, each under a heading of a level."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    yield markdown(ast.get_docstring(tree) or "")
    for node in tree.body:
        if isinstance(node, Node) and not node.name.startswith("_"):
            yield from _member(node, level)


def _member(node: Node, level: int) -> Iterator[str]:
    yield f"{'#' * level} {node.name}"
    yield f"```python\n{_signature(node)}\n```"
    yield markdown(ast.get_docstring(node) or "")
    for inner in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
            yield from _member(inner, level + 1)


def _signature(node: Node) -> str:
    if isinstance(node, ast.FunctionDef):
        result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"def {node.name}({ast.unparse(node.args)}){result}"
    bases = ", ".join(map(ast.unparse, node.bases))
    fields = [f"    {ast.unparse(line)}" for line in node.body if isinstance(line, ast.AnnAssign)]
    return "\n".join([f"class {node.name}({bases}):" if bases else f"class {node.name}:", *fields])


def markdown(docstring: str) -> str:
    """Return a docstring in Google's form as Markdown."""
    return "\n\n".join(_block(block) for block in re.split(r"\n\s*\n", docstring) if block.strip())


def _block(block: str) -> str:
    """Return a part of a docstring between blank lines."""
    head, *rest = block.split("\n")
    if head.startswith(">>>"):
        return f"```pycon\n{block}\n```"
    if block.startswith("    "):
        return f"```python\n{block}\n```"
    if SECTION.fullmatch(head):
        items = re.split(r"\n    (?! )", "\n" + "\n".join(rest))[1:]
        return f"**{head[:-1]}**\n\n" + "\n".join(f"- {_item(' '.join(item.split()))}" for item in items)
    return _escaped(block)


def _item(text: str) -> str:
    named = ITEM.fullmatch(text)
    return f"`{named[1]}`: {_escaped(named[2])}" if named else _escaped(text)


def _escaped(text: str) -> str:
    """Return words in which nothing but code in backticks is markup."""
    parts = CODE.split(text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\<*_\[\]])", r"\\\1", part) for part in parts)
