"""The folder of a report: where its page, tables and pictures lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TABLES = (".csv", ".md", ".tex", ".html")  # suffixes of a table's files
DRAWINGS = (".png", ".svg", ".pdf")  # of a chart's


@dataclass(frozen=True)
class ReportFolder:
    """The paths of a report; those of figures have no suffix, as a figure may be written in several formats."""

    folder: Path

    @property
    def page(self) -> Path:
        """The report itself."""
        return self.folder / "report.html"

    @property
    def pdf(self) -> Path:
        """The page as it is printed."""
        return self.folder / "report.pdf"

    @property
    def claim(self) -> Path:
        """The CLAIM checklist, answered."""
        return self.folder / "claim.md"

    @property
    def methods(self) -> Path:
        """The methods in words."""
        return self.folder / "methods.md"

    @property
    def statistics(self) -> Path:
        """The numbers of all tables."""
        return self.folder / "statistics.csv"

    @property
    def curves(self) -> Path:
        """The learning curves."""
        return self.folder / "curves"

    @property
    def dice(self) -> Path:
        """The Dice of each organ."""
        return self.folder / "dice"

    @property
    def ceilings(self) -> Path:
        """The Dice beside what the working grid allows."""
        return self.folder / "ceilings"

    @property
    def volumes(self) -> Path:
        """The agreement of volumes."""
        return self.folder / "volumes"

    @property
    def trust(self) -> Path:
        """Reliability curve, expected against true Dice, risk and coverage."""
        return self.folder / "trust"

    @property
    def flow_chart(self) -> Path:
        """The flow of patients and cases."""
        return self.folder / "flow_chart"

    @property
    def cases(self) -> Path:
        """The folder of the small picture of each case."""
        return self.folder / "cases"

    @property
    def organs(self) -> Path:
        """The folder of each organ's pictures."""
        return self.folder / "organs"

    @property
    def surfaces(self) -> Path:
        """The folder of pictures of surfaces."""
        return self.folder / "surfaces"

    @property
    def drawings_file(self) -> Path:
        """What the pictures of cases were drawn from."""
        return self.folder / "drawn.json"

    @property
    def views(self) -> Path:
        """The folder of pages that show one case each."""
        return self.folder / "view"

    def tables_and_charts(self, names: Iterable[str]) -> Iterator[Path]:
        """Yield the files that a report writes anew each time: of other formats none, as a user may have saved them.

        Args:
            names: Of tables beside those of Dice and metrics.
        """
        charts = (self.curves, self.dice, self.ceilings, self.volumes, self.trust, self.flow_chart)
        tables = ("table?_*", "metrics_*", "published_*", *names)
        patterns = [f"{table}{suffix}" for table in tables for suffix in TABLES]
        patterns += [f"{chart.name}{suffix}" for chart in charts for suffix in DRAWINGS]
        for pattern in (self.statistics.name, *patterns):
            yield from (file for file in self.folder.glob(pattern) if file.is_file())
