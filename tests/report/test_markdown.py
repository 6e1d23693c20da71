"""Tests of autoseg.report.markdown."""

from __future__ import annotations

from autoseg.report.markdown import html_of


def test_headings_stand_below_those_of_the_page_and_tables_can_be_scrolled() -> None:
    page = html_of("# Plan\n\n## Crop\n\n**96** voxels\n\n| organ | ml |\n|---|---|\n| liver | 1250 |\n")
    assert "<h3>Plan</h3>" in page
    assert "<h4>Crop</h4>" in page
    assert "<strong>96</strong> voxels" in page
    assert page.count('tabindex="0"') == page.count("<table>") == page.count("</table></div>") == 1
    assert "<td>1250</td>" in page


def test_nothing_in_it_becomes_html_or_leaves_the_page() -> None:
    page = html_of("<script>alert(1)</script> ![x](http://a.b/c.png) [y](javascript:alert(1)) <http://a.b>")
    for tag in ("<script", "<img", "<a "):
        assert tag not in page
