"""Draw the pictures of one case, in a worker process, and record what each was drawn from."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from autoseg.dataset.load import Case
from autoseg.digests import code_digest, digest, file_digest, files_digest
from autoseg.errors import VolumeError
from autoseg.figures.canvas import Undrawn, save_figure, try_to_draw
from autoseg.figures.errors import errors_figure
from autoseg.figures.overlays import case_figure, organ_figure
from autoseg.figures.planes import CaseArrays
from autoseg.figures.surfaces import surfaces_figure
from autoseg.figures.windows import CT_WINDOW_HU
from autoseg.files import write_text
from autoseg.imaging.grid import Box
from autoseg.imaging.pictures import is_picture
from autoseg.imaging.stored import stored_digest
from autoseg.imaging.volumes import Volume, read_image, read_label
from autoseg.json_file import JsonError, read_json
from autoseg.labels import Label
from autoseg.plan import Plan
from autoseg.report_folder import ReportFolder

CODE = ("figures", "report/case_pictures.py", "imaging", "labels.py")  # the code that draws a picture

Sources = tuple[str, str | None]  # digests of the mask with all settings, and of image and label (None: not known)
NOTED = 3  # digests of a picture: of its sources, and of itself


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture of a case."""

    kind: str  # "case" (the small one in the list of cases), "overlay", "errors" or "surfaces"
    case: str
    file: Path  # without suffix
    caption: str
    organ: Label | None = None
    at_errors: bool = False  # whether an overlay shows the slices with the most errors
    looked: tuple[Box, ...] = ()  # that a second stage has looked into

    @property
    def focus(self) -> int | None:
        """The label value of the organ shown; None: all organs."""
        return None if self.organ is None else self.organ.value

    @property
    def embedded(self) -> Path:
        """The file that the page embeds."""
        return self.file.with_name(self.file.name + ".webp")

    @property
    def printed(self) -> Path | None:
        """The file for a paper."""
        return None if self.kind == "case" else self.file.with_name(self.file.name + ".png")

    @property
    def files(self) -> tuple[Path, ...]:
        """Its files."""
        return (self.embedded,) if self.printed is None else (self.embedded, self.printed)


class Drawings:
    """The pictures of a report with the digests of what each was drawn from, stored in a file beside them."""

    def __init__(self, report: ReportFolder) -> None:
        """Read the report's file of digests; without a readable one no picture counts as drawn."""
        self._report, self.folder, self._file = report, report.folder, report.drawings_file
        try:
            notes = read_json(self._file, dict).items()
        except (OSError, JsonError):
            notes = {}.items()
        self._notes = {name: tuple(note) for name, note in notes if isinstance(note, list) and len(note) == NOTED}

    def has(self, view: View, sources: Sources) -> bool:
        """Return whether a picture is as it was drawn, and from these sources, as far as they are known."""
        mask, case, content = self._notes.get(self._name(view.embedded), (None, None, None))
        return mask == sources[0] and sources[1] in (None, case) and content == files_digest(view.files)

    def keep_only(self, pictures: Collection[Path]) -> None:
        """Remove the large pictures of earlier reports except `pictures` (without suffix)."""
        for file in [*self._report.organs.glob("*.*"), *self._report.surfaces.glob("*.*")]:
            if file.suffix in (".png", ".webp") and file.with_suffix("") not in pictures:
                file.unlink()

    def remember(self, drawn: Iterable[tuple[View, Sources]]) -> None:
        """Record the sources of pictures that were drawn; drop the records of those that no longer exist."""
        self._notes |= {self._name(view.embedded): (*sources, files_digest(view.files)) for view, sources in drawn}
        existing = {name: note for name, note in self._notes.items() if (self.folder / name).is_file()}
        write_text(self._file, json.dumps(existing, indent=1, sort_keys=True))

    def _name(self, picture: Path) -> str:
        return picture.relative_to(self.folder).as_posix()


@dataclass(frozen=True, kw_only=True)
class CaseWork:
    """The pictures of a case to draw, with everything that drawing them takes."""

    case: Case | None  # None: its files are not found; pictures that exist may still be shown
    mask: Path
    plan: Plan
    views: tuple[View, ...]

    def sources(self, view: View) -> Sources:
        """Return digests of everything that a picture depends on."""
        organs = list(self.plan.scheme.names.items())
        settings: tuple[object, ...] = (view.kind, view.focus, view.at_errors, organs, self.plan.intensity[0].kind)
        settings += view.looked
        mask = digest(file_digest(self.mask), settings, code_digest(*CODE))
        return mask, None if self.case is None else stored_digest([*self.case.label_files, *self.case.images])

    def has_drawn(self, view: View, drawings: Drawings) -> bool:
        """Return whether a picture exists and is up to date."""
        return drawings.has(view, self.sources(view))

    def without_drawn(self, drawings: Drawings) -> CaseWork:
        """Return the work without pictures that are up to date."""
        return replace(self, views=tuple(view for view in self.views if not self.has_drawn(view, drawings)))


def draw_case(work: CaseWork) -> dict[Path, Undrawn]:
    """Draw the pictures of a case; return those that could not be drawn, by the file without suffix.

    Raises:
        AutosegError: If none can be drawn, as a file cannot be read or written.
    """
    if work.case is None:
        raise VolumeError("is not in the dataset any more")
    try:
        image, mask = read_image(work.case.images[:1]), read_label(work.mask)  # the first channel is shown
        truth = read_label(work.case.label_files, image.grid, work.plan.scheme)
        if not image.grid.shape == truth.grid.shape == mask.grid.shape:
            raise VolumeError("image, label and prediction differ in shape; run `autoseg evaluate` again")
        window = CT_WINDOW_HU if work.plan.intensity[0].kind == "ct" else None
        organs = work.plan.scheme.names
        spacing_mm, ignored = image.grid.spacing_mm, work.plan.ignored
        within, sided = _within(work), not is_picture(work.case.images[0])
        case = CaseArrays(image.array[0], truth.array, mask.array, spacing_mm, organs, window, ignored, within, sided)
        drawn = {view.file: try_to_draw(partial(_draw_view, view, case, truth, mask)) for view in work.views}
        return {file: result for file, result in drawn.items() if isinstance(result, Undrawn)}
    except OSError as error:
        raise VolumeError(f"{error.filename or work.mask}: {error.strerror or error}") from error


def _within(work: CaseWork) -> dict[int, tuple[int, ...]] | None:
    scheme = work.plan.scheme
    return {organ.value: scheme.values_of(organ) for organ in scheme.labels} if scheme.overlapping else None


def _draw_view(view: View, case: CaseArrays, truth: Volume, mask: Volume) -> None:
    case = replace(case, looked=view.looked)
    if view.kind == "surfaces":
        figure = surfaces_figure(truth.array, mask.array, case.spacing_mm, case.organs)
    elif view.kind == "case":
        figure = case_figure(case)
    elif view.kind == "overlay" and view.focus is not None:
        figure = organ_figure(case, view.focus, view.at_errors)
    else:
        figure = errors_figure(case, focus=view.focus)
    save_figure(figure, view.file, {".webp": None} if view.printed is None else {".png": 300, ".webp": None})
