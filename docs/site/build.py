"""Build the documentation site: python docs/site/build.py FOLDER. A warning is an error.

Needs Sphinx, MyST and furo, `pip install '.[docs]'`; the site loads nothing from outside.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from docstrings import api_pages
from pages import COPIES, command_line, contents, gallery, linked, plan_keys
from sphinx.cmd.build import main as sphinx_build

ROOT = Path(__file__).parents[2]
LEFT_OUT = {"docs/package.md"}  # a page for elsewhere


def pages() -> dict[str, str | bytes]:
    """Return the files that Sphinx builds the site from, by their place."""
    docs = {file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").rglob("*.md")} - LEFT_OUT
    sources = COPIES | {source: source.removeprefix("docs/") for source in docs}
    texts = {source: (ROOT / source).read_text(encoding="utf-8") for source in sources}
    files: dict[str, str | bytes] = {page: linked(texts[source], source, page) for source, page in sources.items()}
    files["index.md"] = linked(texts["README.md"], "README.md", "index.md") + contents()
    files["command-line.md"] = command_line()
    files["plan-keys.md"] = plan_keys(texts["docs/reference.md"])
    files |= {f"api/{name}.md": text for name, text in api_pages(ROOT / "autoseg").items()}
    return files | gallery(ROOT / "docs" / "gallery")


def build(out: Path) -> int:
    """Build the site into a folder; return Sphinx's exit code."""
    with tempfile.TemporaryDirectory() as staged:
        source = Path(staged)
        shutil.copytree(ROOT / "docs" / "images", source / "images")
        shutil.copy(Path(__file__).with_name("conf.py"), source)
        for place, content in pages().items():
            file = source / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return sphinx_build(["-q", "-W", "--keep-going", "-b", "html", staged, str(out)])


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1])))
