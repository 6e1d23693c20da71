"""Figures without global state: made, rendered to bytes, written whole."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from autoseg.figures.colours import INK
from autoseg.files import appearing


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


def figure_bytes(figure: Figure, kind: str = "png") -> bytes:
    """Return `figure` as a file of a kind ("png", "svg", "pdf"); equal figures give equal bytes."""
    stream = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)  # a "$" in an organ's or case's name is no formula
    with mpl.rc_context({"svg.hashsalt": "autoseg", "svg.fonttype": "path"}):  # no random ids
        figure.savefig(stream, format=kind, metadata=metadata)
    return stream.getvalue()


def save_figure(figure: Figure, path_without_suffix: Path, suffixes: Sequence[str] = (".png", ".svg")) -> list[Path]:
    """Write `figure` once a suffix, beside its place and then renamed.

    Args:
        figure: What to write.
        path_without_suffix: Folder (made if missing) and name, as in RUN/report/curves.
        suffixes: Kinds of file, as in (".png", ".svg").

    Returns:
        The files written.
    """
    written = []
    for suffix in suffixes:
        file = path_without_suffix.with_name(path_without_suffix.name + suffix)
        with appearing(file) as beside:
            beside.write_bytes(figure_bytes(figure, suffix.removeprefix(".")))
        written.append(file)
    return written
