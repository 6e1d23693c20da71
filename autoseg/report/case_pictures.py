"""The pictures of one case: what each was drawn from, and drawing them, in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from autoseg.dataset.load import Case
from autoseg.digests import code_digest, digest, file_digest, files_digest
from autoseg.errors import VolumeError
from autoseg.figures.canvas import save_figure
from autoseg.figures.errors import errors_figure
from autoseg.figures.overlays import CT_WINDOW_HU, case_figure, overlay_figure
from autoseg.figures.planes import CaseArrays
from autoseg.figures.surfaces import surfaces_figure
from autoseg.imaging.volumes import Volume, read_image, read_label
from autoseg.labels import Label
from autoseg.plan import Plan
from autoseg.report.drawings import Drawings, Sources

CODE = ("figures", "report/case_pictures.py", "imaging")  # what draws a picture


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture of a case."""

    kind: str  # "case" (the small one in the list of cases), "overlay", "errors" or "surfaces"
    case: str
    file: Path  # without suffix
    caption: str
    organ: Label | None = None

    @property
    def focus(self) -> int | None:
        """The value of the organ that it is about, if it is about one."""
        return None if self.organ is None else self.organ.value

    @property
    def shown(self) -> Path:
        """The file that the page embeds."""
        return self.file.with_name(self.file.name + ".webp")

    @property
    def printed(self) -> Path | None:
        """The file for a paper."""
        return None if self.kind == "case" else self.file.with_name(self.file.name + ".png")


@dataclass(frozen=True, kw_only=True)
class CaseWork:
    """What one process needs to draw a case."""

    case: Case | None  # None: its files are not known; what is drawn already may still be shown
    mask: Path
    plan: Plan
    views: tuple[View, ...]

    def sources(self, view: View) -> Sources:
        """Return digests of what decides on a picture."""
        organs = list(self.plan.scheme.names.items())
        settings = (view.kind, view.focus, organs, self.plan.intensity[0].kind)
        mask = digest(file_digest(self.mask), settings, code_digest(*CODE))
        return mask, None if self.case is None else files_digest([self.case.label, *self.case.images])

    def has_drawn(self, view: View, drawings: Drawings) -> bool:
        """Return whether a picture is there, and of what is there now."""
        return drawings.has(view.shown, self.sources(view)) and (view.printed is None or view.printed.is_file())

    def stale(self, drawings: Drawings) -> CaseWork:
        """Return the work without what is drawn already."""
        return replace(self, views=tuple(view for view in self.views if not self.has_drawn(view, drawings)))


def draw_case(work: CaseWork) -> None:
    """Draw the pictures of a case.

    Raises:
        AutosegError: If it cannot be drawn; the text says why.
    """
    if work.case is None:
        raise VolumeError("is not in the dataset any more")
    try:
        image, truth, mask = read_image(work.case.images), read_label(work.case.label), read_label(work.mask)
        if not image.grid.shape == truth.grid.shape == mask.grid.shape:
            raise VolumeError("image, label and prediction differ in shape; run `autoseg evaluate` again")
        window = CT_WINDOW_HU if work.plan.intensity[0].kind == "ct" else None
        organs = work.plan.scheme.names
        case = CaseArrays(image.array[0], truth.array, mask.array, image.grid.spacing_mm, organs, window)
        for view in work.views:
            _draw_view(view, case, truth, mask)
    except OSError as error:
        raise VolumeError(f"{error.filename or work.mask}: {error.strerror or error}") from error


def _draw_view(view: View, case: CaseArrays, truth: Volume, mask: Volume) -> None:
    if view.kind == "surfaces":
        figure = surfaces_figure(truth.array, mask.array, case.spacing_mm, case.organs)
    elif view.kind == "case":
        figure = case_figure(case)
    else:
        draw = overlay_figure if view.kind == "overlay" else errors_figure
        figure = draw(case, focus=view.focus)
    save_figure(figure, view.file, {".webp": None} if view.printed is None else {".png": 300, ".webp": None})
