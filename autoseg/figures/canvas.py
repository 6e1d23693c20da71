"""Create figures without global state, render them to bytes, and write them atomically."""

from __future__ import annotations

import io
import re
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.text import Text

from autoseg.errors import AutosegError
from autoseg.figures.colours import INK
from autoseg.files import atomic_path

Kinds = Mapping[str, float | None]  # suffix to its pixels an inch; None: the figure's own
PNG: Kinds = {".png": None}
PRINTED: Kinds = {".png": 300, ".svg": None, ".pdf": None}  # what journals ask for
MOST_NAMED = 24  # in a legend
_OPTIONS: dict[str, dict[str, Any]] = {  # less effort than the most: a third of the time for files of some % more
    "webp": {"pil_kwargs": {"quality": 80, "method": 4}},
    "png": {"pil_kwargs": {"compress_level": 3}},
}

Drawing = TypeVar("Drawing")


@dataclass(frozen=True, kw_only=True)
class Undrawn:
    """A picture that could not be drawn."""

    cause: str  # one line
    traceback: str  # for the log


def try_to_draw(draw: Callable[[], Drawing]) -> Drawing | Undrawn:
    """Draw a picture; return why not where that fails: a picture is never worth the results that it shows.

    Raises:
        AutosegError: As `draw`; what it names is no fault of the drawing.
        OSError: If a file cannot be read or written.
        MemoryError: If there is too little memory.
    """
    try:
        return draw()
    except (AutosegError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a plotting library finds wrong with a rare shape
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        return Undrawn(cause=cause, traceback=traceback.format_exc())


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure, sizes in inches; it belongs to no window and no global list."""
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes) -> Axes:
    """Give `axes` the house style: no box, a light grid behind the data, small type."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#E3E3E3", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=INK)
    return axes


def say(axes: Axes, text: str) -> None:
    """Write a message in the middle of an empty panel."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#666666", fontsize=9)


def legend_below(figure: Figure, handles: Sequence[Artist], names: Sequence[str], heading: str = "") -> None:
    """Draw one legend below all panels, in as many columns as its names leave room for; the figure grows by it.

    Of more than `MOST_NAMED` names the first are drawn, and how many more there are.
    """
    if len(names) > MOST_NAMED + 1:
        more = Line2D([], [], linestyle="")
        handles, names = [*handles[:MOST_NAMED], more], [*names[:MOST_NAMED], f"and {len(names) - MOST_NAMED} more"]
    columns = next((n for n in range(len(names), 1, -1) if _width_in(names, n) < figure.get_figwidth()), 1)
    rows = -(-len(names) // columns) + bool(heading)
    figure.set_figheight(figure.get_figheight() + 0.1 + 0.17 * rows)
    if names:
        type_size = {"fontsize": 8, "title_fontsize": 8}
        figure.legend(
            handles, names, loc="outside lower center", ncols=columns, frameon=False, title=heading, **type_size
        )


def _width_in(names: Sequence[str], columns: int) -> float:
    """Return about how wide a legend of 8 points is, in inches."""
    rows = -(-len(names) // columns)
    return sum(0.55 + 0.067 * max(map(len, names[i : i + rows])) for i in range(0, len(names), rows))


def figure_bytes(figure: Figure, kind: str = "png", dpi: float | None = None) -> bytes:
    """Return `figure` as a file; equal figures give equal bytes.

    Args:
        figure: What to render.
        kind: "png", "svg", "pdf" or "webp"; the last is lossy, and small where there is a grey image.
        dpi: Pixels an inch; None: the figure's own.
    """
    stream = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)  # a "$" in an organ's or case's name is no formula
    with (
        mpl.rc_context({"svg.hashsalt": "autoseg", "svg.fonttype": "path", "pdf.fonttype": 42}),
        warnings.catch_warnings(),
    ):  # no random ids
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # a name's letter that no font here has
        figure.savefig(stream, format=kind, metadata=metadata, dpi=dpi or "figure", **_OPTIONS.get(kind, {}))
    return stream.getvalue()


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return the width and height of a PNG, WebP or SVG in pixels, of which a point has 4/3; None of anything else."""
    if points := re.search(rb'<svg[^>]* width="([\d.]+)pt" height="([\d.]+)pt"', data[:2000]):
        return round(float(points[1]) * 4 / 3), round(float(points[2]) * 4 / 3)
    try:
        height, width = imread(io.BytesIO(data), format="webp" if data[8:12] == b"WEBP" else "png").shape[:2]
    except (OSError, SyntaxError, ValueError):
        return None
    return width, height


def save_figure(figure: Figure, path_without_suffix: Path, kinds: Kinds = PRINTED) -> list[Path]:
    """Write `figure` once a kind, beside its place and then renamed.

    Args:
        figure: What to write.
        path_without_suffix: Folder (made if missing) and name, as in RUN/report/curves.
        kinds: Of file, as in {".png": 300}.

    Returns:
        The files written.
    """
    written = []
    for suffix, dpi in kinds.items():
        file = path_without_suffix.with_name(path_without_suffix.name + suffix)
        with atomic_path(file) as beside:
            beside.write_bytes(figure_bytes(figure, suffix.removeprefix("."), dpi))
        written.append(file)
    return written


def save_drawing(figure: Figure, path_without_suffix: Path) -> bytes:
    """Write `figure` as it is to be printed, as `save_figure` does; return the SVG's bytes."""
    written = save_figure(figure, path_without_suffix)
    return next(file for file in written if file.suffix == ".svg").read_bytes()
