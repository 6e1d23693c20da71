"""The files of a prediction: the mask and, where asked for, a mask of each organ, a preview and DICOM objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.imaging.pictures import is_picture, require_slices
from autoseg.imaging.readers import reader_of_suffix, strip_suffix
from autoseg.imaging.volumes import Volume, read_header, write_label
from autoseg.inference.inputs import Input, require_series
from autoseg.inference.model import Prediction
from autoseg.inference.outputs import dicom_seg, rtstruct
from autoseg.inference.outputs.dicom_object import SeriesMask
from autoseg.inference.outputs.legend import file_names, segment_fields
from autoseg.inference.outputs.preview import preview_file, write_preview
from autoseg.inference.upsample import to_percent
from autoseg.plan import Plan

PERCENT = "_percent"  # after an organ's name: the file of its probability


@dataclass(frozen=True)
class Outputs:
    """What is written beside the mask."""

    per_organ: bool = False  # a mask of 0 and 1 for each organ, in a folder of the case's name
    preview: bool = False  # a picture: three planes with contours
    dicom_seg: bool = False  # for a DICOM series: the mask as DICOM SEG
    rtstruct: bool = False  # for a DICOM series: contours as an RT Structure Set


PLAIN = Outputs()


def require_outputs(outputs: Outputs, jobs: Sequence[Input]) -> None:
    """Refuse early what could not be written.

    Raises:
        VolumeError: If a package is missing, an image is no DICOM series for an object to refer to, or has more slices
            than the one file for its mask can hold.
    """
    for job in jobs if len(jobs) == 1 else ():  # of several images only pictures have such masks
        if is_picture(job.out):
            require_slices(job.out, read_header(job.images[0], job.series).grid.shape[0])
    images = [image for job in jobs for image in job.images]
    if outputs.dicom_seg:
        dicom_seg.require_highdicom()
        require_series(images, "--dicom-seg")
    if outputs.rtstruct:
        require_series(images, "--rtstruct")


def output_files(job: Input, plan: Plan, outputs: Outputs, has_probabilities: bool) -> tuple[Path, ...]:
    """Return the files that `write_outputs` writes."""
    beside = job.out.with_name(strip_suffix(job.out) or job.out.name)
    suffix = job.out.name[len(beside.name) :]
    names = file_names(plan.labels)
    files = [job.out]
    files += [preview_file(job.out)] if outputs.preview else []
    files += [beside / f"{name}{suffix}" for name in names] if outputs.per_organ else []
    files += [beside / f"{name}{PERCENT}{suffix}" for name in names] if has_probabilities else []
    files += [job.out.with_name(beside.name + dicom_seg.SUFFIX)] if outputs.dicom_seg else []
    files += [job.out.with_name(beside.name + rtstruct.SUFFIX)] if outputs.rtstruct else []
    return tuple(files)


def write_outputs(
    job: Input, plan: Plan, image: Volume | None, prediction: Prediction[Volume], outputs: Outputs
) -> None:
    """Write the files of a prediction, each atomically; the probabilities where it has them.

    Args:
        job: Names the files.
        plan: Of the model.
        image: To draw a preview of; None: no preview.
        prediction: What to write.
        outputs: What to write beside the mask.

    Raises:
        VolumeError: If a mask cannot be written.
        OSError: If the disk is full.
    """
    beside = job.out.with_name(strip_suffix(job.out) or job.out.name)
    suffix = job.out.name[len(beside.name) :]
    if image is not None:
        write_preview(job, plan, image, prediction)
    if outputs.per_organ:
        for label, name in zip(plan.labels, file_names(plan.labels), strict=True):
            organ = plan.scheme.mask(prediction.mask.array, label).astype(np.uint8)
            write_label(beside / f"{name}{suffix}", organ, prediction.mask.stored)
    if prediction.probabilities is not None:
        for index, name in zip(plan.scheme.organs, file_names(plan.labels), strict=True):
            percent = to_percent(prediction.probabilities[index], prediction.mask.grid.shape)
            for look in prediction.looked:
                percent[look.box] = look.percent[index]
            write_label(beside / f"{name}{PERCENT}{suffix}", percent, prediction.mask.stored)
    reader = reader_of_suffix(job.out.name)
    segments = reader is not None and reader.slicer_segments
    fields = segment_fields(plan.labels, prediction.mask.stored.shape) if segments else None
    write_label(job.out, prediction.mask.array, prediction.mask.stored, fields)
    source = SeriesMask(prediction.mask.array, prediction.mask.stored, plan.scheme, job.images[0], job.series)
    if outputs.dicom_seg:
        dicom_seg.write_dicom_seg(job.out.with_name(beside.name + dicom_seg.SUFFIX), source)
    if outputs.rtstruct:
        rtstruct.write_rtstruct(job.out.with_name(beside.name + rtstruct.SUFFIX), source)
