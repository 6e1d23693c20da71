"""Channels and labels as the files themselves have them, for datasets without a dataset.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from autoseg.dataset.metadata import EXAMPLE
from autoseg.errors import DatasetError, VolumeError
from autoseg.imaging.dicom_contours import structure_names
from autoseg.imaging.dicom_segments import segment_names
from autoseg.imaging.mask_folder import mask_name, mask_names
from autoseg.imaging.segment_values import labels_of_segments
from autoseg.imaging.slicer_segments import slicer_names
from autoseg.imaging.stored import stored_files
from autoseg.imaging.structures import are_named
from autoseg.imaging.volumes import read_image, read_label
from autoseg.labels import HIGHEST_VALUE, MOST_LABELS, Label, organ_key


class ManyNamesError(DatasetError):
    """Label maps have more names of organs than a network can have labels."""

    def __init__(self, dataset: Path, names: Mapping[str, Sequence[str]], way_out: str) -> None:
        """Keep the names of each case; `way_out` says what to do."""
        several = len({organ_key(name) for of_case in names.values() for name in of_case})
        super().__init__(
            f"{dataset}: the label maps have {several} names of organs, and at most {MOST_LABELS} labels are possible; "
            f"{way_out}"
        )
        self.names = names


def counted_channels(cases: Sequence[Sequence[Path]]) -> tuple[str, ...]:
    """Return names for the channels that the first readable case has; `cases` are the image files of each."""
    for images in cases:
        try:
            count = len(images) if len(images) > 1 else len(read_image(images).array)
        except VolumeError:
            continue
        return tuple(f"channel {n}" for n in range(count))
    return ("channel 0",)


def names_within(files: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the organs in a label map; none where its format has values only, or it cannot be read.

    Args:
        files: That it is in; of several, and of `MaskFiles`, images are masks that are called as their files.
    """
    names: list[str] = []
    try:
        of_files = are_named(files)
    except VolumeError:
        return ()
    for file in files:
        try:
            within = tuple(_names_of(file).values()) if file.exists() else ()
        except VolumeError:
            continue
        names += within or ((mask_name(file) or file.name,) if of_files else ())
    return tuple(names)


def _names_of(file: Path) -> dict[int, str]:
    return segment_names(file) or structure_names(file) or mask_names(file) or slicer_names(file)


def _values_of(file: Path) -> frozenset[int]:
    """Return the positive values in a label map; those of files that were read in this process are known."""
    parts = stored_files((file,))
    states = [one.stat() for one in parts if one.is_file()]
    if len(states) < len(parts):  # a folder, or a file that is missing
        return _read_values(file)
    return _known_values(file, tuple((one.st_size, one.st_mtime_ns, one.st_ino) for one in states))


@lru_cache(maxsize=100_000)
def _known_values(file: Path, _: tuple[tuple[int, int, int], ...]) -> frozenset[int]:
    return _read_values(file)


def _read_values(file: Path) -> frozenset[int]:
    return frozenset(int(value) for value in np.unique(read_label(file).array) if value > 0)


def labels_by_value(dataset: Path, label_maps: Mapping[str, Sequence[Path]]) -> tuple[Label, ...]:
    """Return a label for each positive value in the label maps that can be read; where organs have names, for each.

    Args:
        dataset: What the dataset is called in messages.
        label_maps: Case to the files that its label map is in.

    Raises:
        ManyNamesError: If there are too many names.
        DatasetError: If there are too many values, or values that no label has; or if some label maps have named organs
            (DICOM SEG, RTSTRUCT, folders of masks) and others do not, as their numbers are no label values.
    """
    values: set[int] = set()
    named: list[dict[int, str]] = []
    of_slicer: list[dict[int, str]] = []  # their numbers are values, too
    for files in label_maps.values():
        file = files[0]
        try:
            if are_named(files):
                named.append(dict(enumerate(names_within(files), start=1)))
                continue
            named.append(segment_names(file) or structure_names(file) or mask_names(file))
            of_slicer.append(slicer_names(file))
            if not named[-1] and not of_slicer[-1]:
                values |= _values_of(file)
        except VolumeError:
            continue  # one bad case: for `check` to say
    if any(named) and values:
        raise DatasetError(
            f"{dataset}: some label maps name their organs (DICOM SEG, RTSTRUCT, folders of masks) and others do not; "
            f"name the labels in a dataset.json beside it, as in {EXAMPLE}"
        )
    if values:
        values.update(value for names in of_slicer for value in names)
    else:
        named += of_slicer
    labels = labels_of_segments(named) or tuple(Label(value=value, name=f"label {value}") for value in sorted(values))
    if len(labels) > MOST_LABELS and not values:
        raise ManyNamesError(
            dataset,
            {case: names_within(files) for case, files in label_maps.items()},
            f"draft a table of those that count by `autoseg check {dataset} --labels draft.csv`",
        )
    highest = max((label.value for label in labels), default=0)
    if not 1 <= len(labels) <= MOST_LABELS or highest > HIGHEST_VALUE:
        raise DatasetError(
            f"{dataset}: the label maps hold {len(labels)} positive values, up to {highest}; "
            f"name the labels in a dataset.json beside it, as in {EXAMPLE}"
        )
    return labels
