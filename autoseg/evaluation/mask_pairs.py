"""Masks of two folders that belong to one case: those of one name, whatever their format."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from autoseg.errors import RunError
from autoseg.imaging.dicom_segments import is_segmentation, strip_segmentation_suffix
from autoseg.imaging.readers import image_suffixes, images_among, strip_suffix
from autoseg.imaging.slicer_segments import strip_slicer_suffix
from autoseg.words import counted, is_text, printable

logger = logging.getLogger(__name__)


def pair_masks(
    predictions: Path, references: Path, common: bool
) -> tuple[dict[str, tuple[Path, Path]], dict[str, str]]:
    """Return the masks of one name, prediction first, and the causes of those that have no partner or no sound name.

    Args:
        predictions: Folder of masks.
        references: Folder of true masks.
        common: Whether references without a prediction are left out; else each of them is a failure.

    Raises:
        RunError: If a folder is missing, two masks of one differ only in their suffix, or no names match.
    """
    predicted, true = _masks(predictions, references), _masks(references, predictions)
    if extra := sorted(predicted.keys() - true.keys()):
        count = counted(len(extra), "mask")
        logger.warning("%s: not scored, as without a reference: %s (%s …)", predictions, count, extra[0])
    pairs = {name: (predicted[name], file) for name, file in true.items() if name in predicted}
    if not pairs:
        raise RunError(f"{predictions}: no mask has the name of one in {references}; give two folders of equal names")
    alone = {} if common else {name: file for name, file in true.items() if name not in predicted}
    failed = {name: f"{file}: has no prediction in {predictions}; --common omits it" for name, file in alone.items()}
    if common and (left := len(true.keys() - predicted.keys())):
        logger.warning("%s: left out, as without a prediction: %s", references, counted(left, "reference"))
    unfit = {name for name in true if not is_text(name)}
    pairs = {name: pair for name, pair in pairs.items() if name not in unfit}
    failed = {name: cause for name, cause in failed.items() if name not in unfit}
    for name in unfit:
        failed[printable(name)] = f"{true[name]}: its name is not UTF-8 text; rename both masks with letters and digits"
    return pairs, failed


def _masks(folder: Path, partners: Path) -> dict[str, Path]:
    """Return the masks of a folder by name: that of 3D Slicer's CASE.seg.nrrd is CASE, unless partners are CASE.seg.

    Raises:
        RunError: If a folder is missing, or two masks differ only in their suffix.
    """
    full_names = {strip_suffix(file) for file in _images(partners) if strip_slicer_suffix(file) is None}
    masks: dict[str, Path] = {}
    for file in _images(folder):
        name = strip_suffix(file) or file.name
        name = name if name in full_names else strip_slicer_suffix(file) or name
        if name in masks:
            raise RunError(f"{file}: has the name of {masks[name].name}; move one of them away")
        masks[name] = file
    for file in sorted(folder.iterdir()):
        stem = strip_segmentation_suffix(file)
        if stem and not stem.startswith(".") and stem not in masks and is_segmentation(file):
            masks[stem] = file
    return masks


def _images(folder: Path) -> Collection[Path]:
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such folder; give two folders of masks ({', '.join(image_suffixes())})")
    return images_among(sorted(folder.iterdir()))
