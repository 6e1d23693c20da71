"""A page as a PDF, printed by a browser that is there."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from autoseg.errors import AutosegError
from autoseg.files import atomic_path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
LONGEST_S = 300.0  # for a page of thousands of pictures


def require_browser() -> str:
    """Return the browser to print with.

    Raises:
        AutosegError: If there is none.
    """
    for name in BROWSERS:
        if file := shutil.which(name):
            return file
    raise AutosegError(
        "--pdf: there is no Chromium or Chrome on this machine; install one, or open report.html in any browser and "
        "print it to a file"
    )


def print_pdf(page: Path, file: Path) -> None:
    """Print a page to a PDF, without a network and without touching the user's own browser.

    Raises:
        AutosegError: If there is no browser, or it fails.
        OSError: If the disk is full.
    """
    browser = require_browser()
    with tempfile.TemporaryDirectory() as profile, atomic_path(file) as beside:
        options = ["--headless", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer", "--no-sandbox"]
        quiet = ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"]
        printing = ["--virtual-time-budget=20000", f"--print-to-pdf={beside}", page.resolve().as_uri()]
        try:
            done = subprocess.run([browser, *options, *quiet, *printing], capture_output=True, timeout=LONGEST_S)
        except subprocess.TimeoutExpired as error:
            raise AutosegError(
                f"{file}: {browser} did not end within {LONGEST_S:.0f} s; print {page} by hand"
            ) from error
        if done.returncode or not beside.is_file():
            raise AutosegError(f"{file}: {browser} could not print ({done.returncode}); print {page} by hand")
