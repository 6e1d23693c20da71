"""The report as a reader opens it: in a browser, without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_content import DOT, content_of, scores

from autoseg.report.page import Pictures, render_report
from autoseg.report.pdf import print_pdf

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8cfc0f01f0005000201a5f645400000000049454e44ae426082"
)
SAY = (
    "document.body.append(Object.assign(document.createElement('pre'), {id: 'said', textContent: JSON.stringify(%s)}))"
)


def evil_scores() -> pd.DataFrame:
    return scores(
        *(
            (f'c{n}, "é"', split, organ, label, 0.9 - 0.01 * n - 0.1 * label)
            for n, split in enumerate(("training", "training", "testing", "testing"))
            for label, organ in enumerate(("liver", "<script>alert(1)</script>"), 1)
        )
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    content = content_of(evil_scores())
    picture = DOT.__class__(data=PIXEL, media_type="image/png", caption="A dot", alt="A dot")
    pictures = Pictures(curves=picture, boxes=picture, organs={"liver": (picture,)}, cases={'c3, "é"': picture})
    file = tmp_path / "report.html"
    file.write_text(render_report(content.__class__(**{**vars(content), "pictures": pictures})), encoding="utf-8")
    return file


def opened(page: Path, *options: str) -> tuple[str, str]:
    """Return the page's elements after its scripts ran, and what the browser logged."""
    profile = page.parent / "profile"
    quiet = ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    browser = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", *quiet]
    logged = ["--enable-logging=stderr", "--virtual-time-budget=10000", *options]
    done = subprocess.run(
        [*browser, *logged, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout, done.stderr


def said(page: Path, script: str, *options: str) -> Any:
    """Run a script in a copy of the page; return what it gave to SAY."""
    copy = page.with_name("copy.html")
    copy.write_text(page.read_text(encoding="utf-8") + f"<script>{script}</script>", encoding="utf-8")
    elements, _ = opened(copy, *options)
    found = re.search(r'<pre id="said">(.*?)</pre>', elements, re.DOTALL)
    assert found, elements[-2000:]
    return json.loads(unescape(found[1]))


def test_the_report_opens_without_errors_and_runs_no_label(page: Path) -> None:
    elements, log = opened(page)
    assert "CONSOLE" not in log
    assert "Abdomen" in elements
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in elements
    assert elements.count("data:image/png") >= 3
    assert "http://" not in elements.replace("http://www.w3.org", "")


def test_pictures_load_without_a_network(page: Path) -> None:
    script = "for (const i of document.images) i.loading = 'eager';" + (
        "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth))).then(w => " + SAY % "w" + ")"
    )
    assert said(page, script) == [1] * 4


def test_a_click_sorts_by_numbers_up_then_down_then_as_it_was_with_the_total_last(page: Path) -> None:
    script = (
        "const t = document.querySelectorAll('table.sortable')[1], b = t.tHead.querySelectorAll('button')[1];"
        "const names = () => [...t.tBodies[0].rows].map(r => r.cells[0].textContent.slice(0, 5));"
        "const all = []; for (let i = 0; i < 3; i++) { b.click(); all.push(names()); }"
        "all.push(t.tFoot.rows[0].cells[0].textContent);" + SAY % "all"
    )
    up, down, before, total = said(page, script)
    assert (up, down, before) == (["<scri", "liver"], ["liver", "<scri"], ["liver", "<scri"])
    assert total == "Total Avg."


def test_a_link_to_a_case_opens_it_beside_the_three_worst(tmp_path: Path) -> None:
    script = "document.querySelector('a[href=\"#case-6\"]').click(); setTimeout(() => " + (
        SAY % "[...document.querySelectorAll('details.case')].map(one => one.open)" + ", 100)"
    )
    assert said(many_cases(tmp_path, 7), script) == [True, True, True, False, False, True, False]


def serious(page: Path, axe: str, dark: bool) -> list[Any]:
    """Return what axe finds serious or worse, with everything unfolded."""
    script = (
        axe
        + "document.querySelectorAll('details').forEach(d => { d.open = true; });"
        + (
            "axe.run().then(r => " + SAY % "{dark: matchMedia('(prefers-color-scheme: dark)').matches,"
            " found: r.violations.map(v => [v.impact, v.id, v.nodes[0].html.slice(0, 200)])}" + ")"
        )
    )
    told = said(page, script.replace("</script>", "<\\/script>"), f"--blink-settings=preferredColorScheme={1 - dark:d}")
    assert told["dark"] is dark
    return [violation for violation in told["found"] if violation[0] in ("serious", "critical")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_accessibility_has_no_serious_finding(page: Path, dark: bool, axe: str) -> None:
    assert serious(page, axe, dark) == []


def test_axe_finds_what_is_wrong(page: Path, axe: str) -> None:
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r' alt="[^"]*"', "", text).replace('lang="en"', ""), encoding="utf-8")
    assert {violation[1] for violation in serious(page, axe, dark=False)} >= {"image-alt", "html-has-lang"}


@pytest.fixture
def real_page(real_report: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(real_report, tmp_path / "report.html"))


def test_the_report_of_a_real_run_is_light_opens_without_errors_and_loads_its_pictures(real_page: Path) -> None:
    assert real_page.stat().st_size < 10e6
    assert "CONSOLE" not in opened(real_page)[1]
    script = "const all = [...document.images]; for (const i of all) i.loading = 'eager';" + (
        "document.querySelectorAll('details').forEach(d => { d.open = true; });"
        "const loaded = i => i.complete || new Promise(done => { i.onload = i.onerror = done; });"
        "Promise.all(all.map(loaded)).then(() => " + SAY % "all.map(i => i.naturalWidth)" + ")"
    )
    widths = said(real_page, script)
    assert len(widths) > 3
    assert min(widths) > 100


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_report_of_a_real_run_has_no_serious_accessibility_finding(real_page: Path, dark: bool, axe: str) -> None:
    assert serious(real_page, axe, dark) == []


def test_it_prints_to_a_pdf_of_a_few_pages(page: Path) -> None:
    file = page.with_name("report.pdf")
    opened(page, f"--print-to-pdf={file}")
    assert file.read_bytes().startswith(b"%PDF")
    assert 1 <= file.read_bytes().count(b"/Type /Page\n") + file.read_bytes().count(b"/Type /Page ") <= 12


def many_cases(tmp_path: Path, count: int) -> Path:
    content = content_of(scores(*((f"c{n:03d}", "testing", "liver", 1, 0.5 + n / 1000) for n in range(count))))
    file = tmp_path / "many.html"
    file.write_text(render_report(content), encoding="utf-8")
    return file


def test_of_many_cases_the_first_are_shown_those_looked_for_and_all_on_demand(tmp_path: Path) -> None:
    script = (
        "const seen = () => [...document.querySelectorAll('#cases-table tbody tr')].filter(r => !r.hidden).length;"
        "const all = [seen()];"
        "const look = text => { find.value = text; find.dispatchEvent(new Event('input')); all.push(seen()); };"
        "look('C03'); look(''); document.getElementById('all').click(); all.push(seen());"
        "all.push(document.getElementById('shown').textContent);" + SAY % "all"
    )
    assert said(many_cases(tmp_path, 120), script) == [50, 10, 50, 120, "120 of 120 shown"]


def test_a_link_to_a_case_that_is_not_shown_shows_it(tmp_path: Path) -> None:
    script = (
        "const one = document.getElementById('case-110'), before = one.hidden; location.hash = 'case-110';"
        "setTimeout(() => {" + SAY % "[before, one.hidden, one.open]" + "}, 100);"
    )
    assert said(many_cases(tmp_path, 120), script) == [True, False, True]


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext and pdfimages")
def test_a_pdf_has_the_pictures_of_every_organ_and_the_worst_case(page: Path) -> None:
    file = page.with_suffix(".pdf")
    print_pdf(page, file)
    text = subprocess.run(["pdftotext", "-layout", str(file), "-"], capture_output=True, text=True, check=True).stdout
    assert "Abdomen" in text
    assert text.count("A dot") == 4  # curves, boxes, the organ's, and that of the worst case
    assert re.search(r"Page 1 of \d+", text)
    images = subprocess.run(["pdfimages", "-list", str(file)], capture_output=True, text=True, check=True).stdout
    assert [line.split()[2] for line in images.splitlines()[2:]].count("image") == 4


def test_sorting_a_paged_table_sorts_among_all_cases(tmp_path: Path) -> None:
    frame = scores(*((f"c{n:03d}", "testing", "liver", 1, 0.2 + n / 200) for n in range(120)))
    file = tmp_path / "report.html"
    file.write_text(render_report(content_of(frame)), encoding="utf-8")
    script = f"""
      const head = document.querySelectorAll("#cases-table thead th")[2].querySelector("button");
      const shown = () => [...document.querySelectorAll("#cases-table tbody tr:not([hidden])")];
      const first = shown();
      head.click(); head.click();
      const highest = shown(), details = [...document.querySelectorAll("details.case:not([hidden])")];
      const names = [first[0].cells[0].textContent, highest[0].cells[0].textContent, details[0].dataset.case];
      {SAY % "[first.length, highest.length, ...names]"}
    """
    assert said(file, script) == [50, 50, "c000", "c119", "c119"]
