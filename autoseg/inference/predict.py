"""Predict images: read, bring to the working grid, network, back to the image's own grid, write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.data.preprocess import plan_key, working_image
from autoseg.errors import AutosegError, CasesFailedError, ModelError, VolumeError
from autoseg.grid import Voxels
from autoseg.inference.models import load_model, model_files
from autoseg.inference.tiles import predict_probabilities
from autoseg.network.device import DeviceName
from autoseg.network.unet import UNet3D
from autoseg.plan import Plan
from autoseg.resample import winning_class
from autoseg.volumes import IMAGE_SUFFIXES, is_dicom_folder, read_image, strip_suffix, write_label
from autoseg.workers import Track, untracked

CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's CASE_0000


@dataclass(frozen=True, kw_only=True)
class Model:
    """Networks of one plan, ready on their device; several are an ensemble."""

    networks: tuple[UNet3D, ...]
    plan: Plan
    trained_on: frozenset[str]  # case ids that at least one of them has learnt from


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image to predict."""

    name: str
    images: tuple[Path, ...]  # one a channel, or one
    out: Path


def open_model(model: Path, device: DeviceName) -> Model:
    """Load a model file, or all folds of a RUN.

    Raises:
        ModelError: If there is none, one is damaged, or the folds' plans differ in more than the device.
    """
    loaded = [load_model(file, device) for file in model_files(model)]
    plan = loaded[0][1]
    for _, other, _ in loaded[1:]:
        if (other.network, plan_key(other)) != (plan.network, plan_key(plan)):
            raise ModelError(f"{model}: its folds were trained under different plans; train them anew under one plan")
    plan = plan.model_copy(update={"device": device})
    trained_on = frozenset(str(case) for _, _, facts in loaded for case in facts.get("trained_on", ()))
    return Model(networks=tuple(network for network, _, _ in loaded), plan=plan, trained_on=trained_on)


def jobs_for(source: Path, out: Path, channels: int) -> tuple[Job, ...]:
    """Return what there is to predict in an image file, a folder of images, or a DICOM folder.

    Args:
        source: An image; a folder of images; a DICOM series. A name loses nnU-Net's `_0000`; for a model of several
            channels the files CASE_0000, CASE_0001 … of a folder are one image.
        out: A file where it has an image suffix, else a folder.
        channels: Of the model.

    Raises:
        VolumeError: If there is nothing to predict, several images for one file, or a mask would overwrite an image.
    """
    found = _images(source, channels)
    if not found:
        raise VolumeError(f"{source}: no image here; known suffixes: {', '.join(IMAGE_SUFFIXES)}, or a DICOM series")
    if strip_suffix(out) is not None:
        if len(found) > 1:
            raise VolumeError(f"{out}: is one file but {source} holds {len(found)} images; give a folder")
        jobs = tuple(Job(name=name, images=images, out=out) for name, images in found.items())
    elif out.is_file():
        raise VolumeError(f"{out}: has no image suffix; give a folder or one of {', '.join(IMAGE_SUFFIXES)}")
    else:
        jobs = tuple(Job(name=name, images=images, out=out / f"{name}.nii.gz") for name, images in found.items())
    if {job.out.resolve() for job in jobs} & {file.resolve() for job in jobs for file in job.images}:
        raise VolumeError(f"{out}: a mask would overwrite its image; give another OUT")
    return jobs


def predict(model: Model, jobs: Sequence[Job], track: Track = untracked) -> None:
    """Predict every job and write its mask on the image's own grid.

    Raises:
        CasesFailedError: When all others are done, if some could not be predicted.
    """
    failed: dict[str, str] = {}
    for job in track(jobs, "Predicting", len(jobs)):
        try:
            volume = read_image(job.images)
            probabilities = predict_probabilities(model.networks, model.plan, working_image(volume, model.plan))
            write_label(job.out, label_values(probabilities, volume.grid.shape, model.plan), volume.stored)
        except AutosegError as error:
            failed[job.name] = str(error)
    if failed:
        raise CasesFailedError("predict", failed, done=len(jobs) - len(failed))


def label_values(probabilities: npt.NDArray[np.floating], shape: Voxels, plan: Plan) -> npt.NDArray[np.uint16]:
    """Return the label values of the most probable class on a grid of `shape`.

    Args:
        probabilities: (classes, Z, Y, X) on the working grid.
        shape: Of the image's own grid (Z, Y, X).
        plan: Its labels' values.
    """
    values = np.array([0, *(organ.value for organ in plan.labels)], dtype=np.uint16)
    return np.asarray(values[winning_class(probabilities, shape)])


def _images(source: Path, channels: int) -> dict[str, tuple[Path, ...]]:
    """Return the images of a file or folder: name to its files."""
    if source.is_file():
        return {_name(source): (source,)}
    if not source.is_dir():
        raise VolumeError(f"{source}: there is no such file or folder; give an image, a folder of images or of DICOM")
    files = [p for p in sorted(source.iterdir()) if strip_suffix(p) is not None and not p.name.startswith(".")]
    if not files and is_dicom_folder(source):
        return {source.name: (source,)}
    found = _by_channel(files, channels) if channels > 1 else {}
    taken = {file for images in found.values() for file in images}
    for file in files:
        if file in taken:
            continue
        if _name(file) in found:
            raise VolumeError(f"{file}: another image in {source} has the same name; rename one")
        found[_name(file)] = (file,)
    return found


def _by_channel(files: Sequence[Path], channels: int) -> dict[str, tuple[Path, ...]]:
    """Return the images whose channels CASE_0000 … are all there, one file each."""
    numbered: dict[str, dict[int, Path]] = {}
    for file in files:
        if match := CHANNEL.fullmatch(strip_suffix(file) or ""):
            numbered.setdefault(match[1], {})[int(match[2])] = file
    whole = {name: parts for name, parts in numbered.items() if sorted(parts) == list(range(channels))}
    return {name: tuple(parts[n] for n in range(channels)) for name, parts in whole.items()}


def _name(file: Path) -> str:
    return (strip_suffix(file) or file.name).removesuffix("_0000")
