"""Markdown that autoseg has written itself, such as plan.md, as a part of a page."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markupsafe import Markup

SCROLLING = '<div class="wide" role="region" tabindex="0" aria-label="Table">'
DEEPER = 2  # levels that headings go down, to stand below those of the page


def html_of(text: str) -> Markup:
    """Return Markdown as HTML; raw HTML in it is shown as text, as a label may be named `<script>`."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink"])
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + DEEPER)}"
    page = parser.renderer.render(tokens, parser.options, {})
    page = page.replace("<table>", f"{SCROLLING}<table>").replace("</table>", "</table></div>")
    return Markup(page)  # noqa: S704 - escaped by the renderer
