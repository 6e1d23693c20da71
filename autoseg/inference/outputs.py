"""What is written of a prediction: the mask, and where wanted a mask an organ and a preview."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoseg.figures.canvas import save_figure
from autoseg.figures.overlays import CT_WINDOW_HU, overlay_figure
from autoseg.inference.dicom_seg import SUFFIX, write_dicom_seg
from autoseg.inference.jobs import Job
from autoseg.inference.legend import file_names, segment_facts
from autoseg.inference.model import Prediction
from autoseg.plan import Plan
from autoseg.volumes import Volume, strip_suffix, write_label


@dataclass(frozen=True)
class Outputs:
    """What is written beside the mask."""

    per_organ: bool = False  # a mask of 0 and 1 for each organ, in a folder of the case's name
    preview: bool = False  # a picture: three planes with contours
    dicom_seg: bool = False  # for a DICOM series: the mask as DICOM SEG


PLAIN = Outputs()


def write_outputs(job: Job, plan: Plan, image: Volume | None, found: Prediction, wanted: Outputs) -> None:
    """Write what is wanted of a prediction, each file atomically.

    Args:
        job: Names the files.
        plan: Of the model.
        image: To draw a preview of; None: no preview.
        found: What to write.
        wanted: What is written beside the mask.

    Raises:
        VolumeError: If a mask cannot be written.
        OSError: If the disk is full.
    """
    beside = job.out.with_name(strip_suffix(job.out) or job.out.name)
    suffix = job.out.name[len(beside.name) :]
    if image is not None:  # for the preview
        window = CT_WINDOW_HU if plan.intensity[0].kind == "ct" else None
        organs = {label.value: label.name for label in plan.labels}
        figure = overlay_figure(image.array[0], None, found.mask.array, image.grid.spacing_mm, organs, window, job.name)
        save_figure(figure, beside, (".png",))
    if wanted.per_organ:
        for label, name in zip(plan.labels, file_names(plan.labels), strict=True):
            organ = (found.mask.array == label.value).astype(np.uint8)
            write_label(beside / f"{name}{suffix}", organ, found.mask.stored)
    facts = segment_facts(plan.labels, found.mask.stored.shape) if suffix.endswith(".nrrd") else None
    write_label(job.out, found.mask.array, found.mask.stored, facts)
    if wanted.dicom_seg:
        seg = job.out.with_name(beside.name + SUFFIX)
        write_dicom_seg(seg, found.mask.array, found.mask.stored, plan.labels, job.images[0], job.series)
