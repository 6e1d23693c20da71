"""curves.png: the learning curves of a fold, redrawn while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from autoseg.figures.canvas import save_figure
from autoseg.figures.curves import curves_figure
from autoseg.training.log import read_rows


def draw_curves(folder: Path, organs: Sequence[str], out: Path, suffixes: Sequence[str] = (".png",)) -> list[Path]:
    """Draw the log of a fold; return the files written, none where there is no log yet.

    Args:
        folder: Of the fold.
        organs: Names in label order.
        out: Path without suffix.
        suffixes: Kinds of file.
    """
    rows = read_rows(folder / "log.csv")
    if not rows:
        return []
    log = pd.DataFrame(rows).apply(pd.to_numeric, errors="coerce")
    return save_figure(curves_figure(log, organs), out, suffixes)
