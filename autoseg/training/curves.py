"""curves.png: the learning curves of a fold, redrawn while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from autoseg.figures.canvas import PNG, Kinds, save_figure
from autoseg.figures.curves import curves_figure
from autoseg.training.log import read_rows


def draw_curves(
    log_file: Path, organs: Sequence[str], out: Path, cases: Mapping[str, int], kinds: Kinds = PNG
) -> list[Path]:
    """Draw the log of a fold; return the files written, none where there is no log yet.

    Args:
        log_file: Of the fold.
        organs: Names in label order.
        out: Path without suffix.
        cases: Split to the number of its cases that are examined.
        kinds: Of file.
    """
    rows = read_rows(log_file)
    if not rows:
        return []
    log = pd.DataFrame(rows).apply(pd.to_numeric, errors="coerce")
    return save_figure(curves_figure(log, organs, cases), out, kinds)
