"""The report as a reader opens it: in a browser, without a network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from autoseg.results.report import Picture, ReportContent, render_report, summary_of
from autoseg.results.scores import COLUMNS
from autoseg.results.tables import dice_table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8cfc0f01f0005000201a5f645400000000049454e44ae426082"
)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    rows = [
        (0, f"case{n}", split, organ, label, "dice", 0.9 - 0.01 * n - 0.1 * label, "original")
        for n, split in enumerate(("training", "training", "testing", "testing"))
        for label, organ in enumerate(("liver", "<script>alert(1)</script>"), 1)
    ]
    scores = pd.DataFrame(rows, columns=list(COLUMNS))
    training, testing = dice_table(scores, ("training", "validation")), dice_table(scores, ("testing",))
    picture = Picture(data=PIXEL, media_type="image/png", caption="A dot", alt="A dot")
    content = ReportContent(
        title="Phantom & <co>",
        made="today",
        summary=summary_of(training, testing),
        training=training,
        testing=testing,
        curves=picture,
        boxes=picture,
        overlays=(picture,),
        plan_text="# Plan",
        check_rows=(),
        environment={"python": "3"},
        command="autoseg run",
    )
    file = tmp_path / "report.html"
    file.write_text(render_report(content), encoding="utf-8")
    return file


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_report_opens_without_errors_and_runs_no_label(page: Path, tmp_path: Path) -> None:
    browser = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    options = ["--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"]
    opened = subprocess.run(
        [*browser, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert "CONSOLE" not in opened.stderr
    assert "Phantom &amp; &lt;co&gt;" in opened.stdout
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in opened.stdout
    assert opened.stdout.count("data:image/png") >= 3
    assert "http://" not in opened.stdout.replace("http://www.w3.org", "")
