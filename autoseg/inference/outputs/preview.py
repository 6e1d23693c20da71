"""The preview of a prediction: three planes with contours, drawn by matplotlib, which loads where one is asked for."""

from __future__ import annotations

import logging
from pathlib import Path

from autoseg.imaging.pictures import is_picture
from autoseg.imaging.readers import strip_suffix
from autoseg.imaging.volumes import Volume
from autoseg.inference.inputs import Input
from autoseg.inference.model import Prediction
from autoseg.plan import Plan

logger = logging.getLogger(__name__)


def preview_file(out: Path) -> Path:
    """Return the file of a mask's preview: a PNG, but where the mask has that name."""
    stem = strip_suffix(out) or out.name
    return out.with_name(stem + (".webp" if out.name[len(stem) :] == ".png" else ".png"))


def write_preview(job: Input, plan: Plan, image: Volume, prediction: Prediction[Volume]) -> None:
    """Draw a prediction's preview and write it; where it cannot be drawn, a warning says so.

    Raises:
        OSError: If the disk is full.
    """
    from autoseg.figures.canvas import Undrawn, save_figure, try_to_draw
    from autoseg.figures.overlays import overlay_figure
    from autoseg.figures.planes import CaseArrays
    from autoseg.figures.windows import CT_WINDOW_HU

    window = CT_WINDOW_HU if plan.intensity[0].kind == "ct" else None
    grid, scheme = image.grid, plan.scheme
    within = {organ.value: scheme.values_of(organ) for organ in scheme.labels} if scheme.overlapping else None
    case = CaseArrays(
        image.array[0], None, prediction.mask.array, grid.spacing_mm, scheme.names, window, within=within,
        sided=not is_picture(job.images[0]),
    )  # fmt: skip
    file = preview_file(job.out)
    stem, kinds = file.with_suffix(""), {file.suffix: None}
    drawn = try_to_draw(lambda: save_figure(overlay_figure(case, job.name), stem, kinds))
    if isinstance(drawn, Undrawn):
        file.unlink(missing_ok=True)  # that of an earlier mask
        logger.warning("%s: its preview cannot be drawn (%s); the mask is written", job.name, drawn.cause)
