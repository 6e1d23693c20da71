"""report: tables, curves and pictures of a RUN, and the page that shows them."""

from __future__ import annotations

from autoseg.machine import usable_cores
from autoseg.options import ReportOptions
from autoseg.pool import Track, untracked
from autoseg.report.formats import TextTable
from autoseg.report.write import write_report
from autoseg.run import Run


def report(run: Run, options: ReportOptions, track: Track = untracked) -> tuple[list[TextTable], dict[str, str]]:
    """Write RUN/report; return the tables, and the cases that could not be drawn with their causes."""
    return write_report(run, options.jobs or usable_cores(), track)
