"""Datasets on disk: their cases, the files of each, and the names of channels and labels."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from autoseg.dataset.case import Case
from autoseg.dataset.case_table import case_of_row, read_cases, with_lone_masks
from autoseg.dataset.label_table import with_table
from autoseg.dataset.metadata import (
    EXAMPLE,
    about_of,
    channels_of,
    labelled_of,
    labelled_values,
    read_metadata,
    scheme_of,
)
from autoseg.dataset.paths import files_by_stem, ids_of, path_of, require_known_type, require_text
from autoseg.dataset.survey import counted_channels, labels_by_value
from autoseg.errors import DatasetError
from autoseg.imaging.pictures import is_picture
from autoseg.imaging.readers import image_suffixes, strip_suffix
from autoseg.imaging.segment_values import TABLE
from autoseg.labels import Label, LabelScheme
from autoseg.words import shortened

__all__ = ["Case", "Dataset", "load_dataset", "of_cases"]

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")  # nnU-Net's CASE_0000
_UNFIT = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]|^[.\s]|[.\s]$|^$')  # what no file name may hold on every system
LONGEST_ID = 200  # bytes; files of a case have suffixes, and a name beside while they are written


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Cases with the same channels and labels."""

    name: str
    root: Path
    channels: tuple[str, ...]
    labels: tuple[Label, ...]  # by value, without background
    cases: tuple[Case, ...]  # by id
    regions: tuple[tuple[int, ...], ...] | None = None  # values within each label; None: its own, organs are disjoint
    ignored: int | None = None  # value of the label maps where the truth is not known
    is_listed: bool = True  # whether its files list the labels; else every name or value in the label maps is one

    @cached_property
    def by_id(self) -> Mapping[str, Case]:
        """The cases by id."""
        return {case.id: case for case in self.cases}

    @property
    def scheme(self) -> LabelScheme:
        """What the labels are in label maps and in a network."""
        return LabelScheme(labels=self.labels, regions=self.regions, ignored=self.ignored)


def load_dataset(
    path: Path, is_new: bool = True, channels: tuple[str, ...] = (), labels: tuple[Label, ...] = ()
) -> Dataset:
    """Return the cases, channels and labels of a dataset; images are not read.

    Args:
        path: A folder in nnU-Net's raw layout (imagesTr/CASE_0000.nii.gz, labelsTr, dataset.json) or the Medical
            Segmentation Decathlon's (dataset.json lists the pairs), its dataset.json, or a CSV file with the columns
            case, image (several channels: paths joined by ;), label and perhaps patient, labelled (organs joined by
            ;) and what else is known of a case, its paths relative to it.
            A dataset.json beside the CSV names channels and labels, a labels.csv labels and their names in files;
            without either the label maps are read for values.
        is_new: False: a RUN was planned for it, perhaps when names of labels might still differ in capitals only.
        channels: That the RUN was planned for; what no file names is these, and no image is read for them.
        labels: The same of the labels.

    Returns:
        The dataset. Files of a case may be missing: one bad case must not hide the others.

    Raises:
        DatasetError: If the dataset as a whole cannot be understood; one line that says what to correct.
    """
    path = path.absolute()
    if not path.exists():
        raise DatasetError(f"{path}: there is no such dataset; give its folder or its CSV file")
    if path.suffix.lower() == ".csv":
        return _from_csv(path, is_new, channels, labels)
    root = path.parent if path.name == "dataset.json" else path
    if not root.is_dir():
        raise DatasetError(f"{path}: not a dataset; give a folder, its dataset.json, or a CSV file")
    if not any(root.iterdir()):
        raise DatasetError(f"{root}: the folder is empty; it should hold dataset.json, imagesTr and labelsTr")
    file = root / "dataset.json"
    if not file.is_file():
        raise DatasetError(
            f"{file}: missing; write it beside imagesTr and labelsTr, as in {EXAMPLE}; or list files of any name in a "
            "CSV file with the columns case, image, label, and give that"
        )
    meta = read_metadata(file)
    lists_pairs = meta.get("training") and ("file_ending" not in meta or not (root / "imagesTr").is_dir())
    if meta.get("dataset") is not None:
        cases = _in_order(file, _keyed_cases(file, meta))
    else:  # only nnU-Net names the ending
        cases = _in_order(file, _listed_cases(file, meta) if lists_pairs else _paired_cases(file, meta))
    scheme = _scheme_of(file, meta, is_new) or scheme_of(file, meta, is_new)
    cases = _with_labelled(file, labelled_of(meta), scheme, cases)
    return _dataset(str(meta.get("name") or root.name), root, channels_of(file, meta), scheme, cases)


def _scheme_of(file: Path, meta: Mapping[str, Any] | None, is_new: bool) -> LabelScheme | None:
    """Return the labels of a dataset.json and of the table beside it; None where neither says any."""
    is_listed = meta is not None and (meta.get("labels") is not None or not file.with_name(TABLE).is_file())
    return with_table(file, scheme_of(file, meta, is_new) if meta is not None and is_listed else None, is_new)


def _dataset(name: str, root: Path, channels: tuple[str, ...], scheme: LabelScheme, cases: tuple[Case, ...]) -> Dataset:
    labels, regions, ignored = scheme.labels, scheme.regions, scheme.ignored
    return Dataset(
        name=name, root=root, channels=channels, labels=labels, cases=cases, regions=regions, ignored=ignored
    )


def _in_order(file: Path, cases: Iterable[Case]) -> tuple[Case, ...]:
    """Return the cases by id.

    Raises:
        DatasetError: If there is no case, or an id is unfit for a file name or occurs twice.
    """
    ordered = tuple(sorted(cases, key=lambda case: case.id))
    if not ordered:
        raise DatasetError(f"{file}: the dataset has no cases; add images and label maps")
    ids: dict[str, str] = {}  # in lower case, to the id as written
    for case in ordered:
        if _UNFIT.search(case.id) or len(os.fsencode(case.id)) > LONGEST_ID:
            raise DatasetError(
                f"{file}: case id {shortened(repr(case.id))} cannot be a file name; use letters, digits, - and _"
            )
        for path in (*case.images, *case.label_files):
            require_text(path)
        if case.id.casefold() in ids:  # not every file system tells upper from lower case
            raise DatasetError(
                f"{file}: case ids {ids[case.id.casefold()]!r} and {case.id!r} are the same; give each case its own, "
                + ('in the column "case"' if file.suffix.lower() == ".csv" else 'by the key "case" beside "image"')
            )
        ids[case.id.casefold()] = case.id
    return ordered


def _with_labelled(file: Path, named: object, scheme: LabelScheme, cases: tuple[Case, ...]) -> tuple[Case, ...]:
    if named and scheme.overlapping:
        raise DatasetError(f"{file}: labelled names organs by case, which regions do not allow; leave it out")
    values = labelled_values(file, named, scheme.labels, {case.id for case in cases})
    return tuple(replace(case, labelled=values.get(case.id)) for case in cases)


def _listed_cases(file: Path, meta: Mapping[str, Any]) -> list[Case]:
    """Return the pairs that the Decathlon's "training" lists."""
    if not isinstance(meta["training"], list):
        raise DatasetError(f'{file}: "training" must be a list of {{"image": …, "label": …}}')
    cases = []
    for number, entry in enumerate(meta["training"], start=1):
        where = f'{file}, "training" entry {number}'
        fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
        image: Any = fields.get("image")
        names: list[Any] = image if isinstance(image, list) else [image]
        if not names or not all(isinstance(name, str) and name for name in (*names, fields.get("label"))):
            raise DatasetError(f'{where}: needs "image" and "label", found {shortened(json.dumps(entry))}')
        images = _split_channels(
            tuple(path_of(where, file.parent, name) for name in names), len(channels_of(file, meta))
        )
        label = path_of(where, file.parent, fields["label"])
        for path in (*images, label):
            require_known_type(where, path)
        name, about = str(fields.get("case", "")), about_of(fields)
        cases.append(Case(id=name, images=images, label=label, patient=_patient_of(fields), about=about))
    ids = ids_of([case.images[0] for case in cases])
    cases = [replace(case, id=case.id or number) for case, number in zip(cases, ids, strict=True)]
    return [replace(case, patient=case.patient or case.id) for case in cases]


def _keyed_cases(file: Path, meta: Mapping[str, Any]) -> list[Case]:
    """Return the cases that nnU-Net's "dataset" names with their paths; no imagesTr is needed then."""
    if not isinstance(meta["dataset"], dict):
        raise DatasetError(
            f'{file}: "dataset" must name cases, as in {{"a": {{"images": ["a.mha"], "label": "b.mha"}}}}'
        )
    cases = []
    for name, entry in meta["dataset"].items():
        where = f'{file}, "dataset", {shortened(name)}'
        fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
        names = fields.get("images")
        if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
            raise DatasetError(f'{where}: needs "images", a list of paths, found {shortened(repr(names))}; correct it')
        if not isinstance(fields.get("label"), str) or not fields["label"]:
            raise DatasetError(
                f'{where}: needs "label", a path, found {shortened(repr(fields.get("label")))}; correct it'
            )
        images = tuple(path_of(where, file.parent, n) for n in names)
        label = path_of(where, file.parent, fields["label"])
        for path in (*images, label):
            require_known_type(where, path)
        patient = _patient_of(fields) or name
        cases.append(Case(id=name, images=images, label=label, patient=patient, about=about_of(fields)))
    return cases


def _patient_of(fields: Mapping[str, Any]) -> str:
    """Return the patient that an entry names, a number among them; empty where it names none."""
    patient = fields.get("patient")
    return "" if patient is None else str(patient).strip()


def _split_channels(images: tuple[Path, ...], channels: int) -> tuple[Path, ...]:
    """Return nnU-Net's CASE_0000 … where they lie in the place of CASE: its first version listed them so."""
    file = images[0]
    stem = strip_suffix(file)
    if len(images) > 1 or stem is None or file.exists():
        return images
    apart = tuple(file.with_name(f"{stem}_{c:04d}{file.name[len(stem) :]}") for c in range(channels))
    return apart if apart[0].exists() else images


def _paired_cases(file: Path, meta: Mapping[str, Any]) -> list[Case]:
    """Return the cases that imagesTr or labelsTr hold; a file they lack gets the path where it is expected."""
    root, channels = file.parent, len(channels_of(file, meta))
    ending = str(meta.get("file_ending", ".nii.gz"))
    ending = f".{ending}" if f".{ending.lower()}" in image_suffixes() else ending
    require_known_type(f'{file}, "file_ending"', Path(f"case{ending}"))
    pictures = is_picture(Path(f"case{ending}"))
    images = files_by_stem(root / "imagesTr", with_pictures=pictures)
    labels = files_by_stem(root / "labelsTr", images, pictures)
    parts: dict[str, dict[int, Path]] = {case: {} for case in labels}
    for stem, image in images.items():
        match = None if stem in labels else _CHANNEL.fullmatch(stem)
        case, channel = (match["case"], int(match["channel"])) if match else (stem, 0)
        parts.setdefault(case, {})[channel] = image
    _require_same_capitals(root, set(parts) - set(labels), labels)
    if images and labels and not any(parts[case] for case in labels):
        raise DatasetError(
            f"{root}: no image and label map have one name ({next(iter(images))} …, {next(iter(labels))} …); name them "
            "CASE_0000 and CASE, or list the pairs in a CSV file with the columns case, image, label"
        )
    cases = []
    for case, channel_files in parts.items():
        whole = case in images or (sorted(channel_files) == [0] and is_picture(channel_files[0]))  # all channels in it
        numbers = range(1 if whole else max(channels, *(n + 1 for n in channel_files), 1))
        files = tuple(channel_files.get(n, root / "imagesTr" / f"{case}_{n:04d}{ending}") for n in numbers)
        cases.append(
            Case(id=case, images=files, label=labels.get(case, root / "labelsTr" / f"{case}{ending}"), patient=case)
        )
    return cases


def _require_same_capitals(root: Path, unpaired: Collection[str], labels: Collection[str]) -> None:
    """Raise DatasetError if an image without label map has one but for its capitals."""
    by_key = {label.casefold(): label for label in labels}
    for case in sorted(unpaired):
        label = by_key.get(case.casefold())
        if label is not None:
            raise DatasetError(
                f"{root}: imagesTr has {case} and labelsTr has {label}, which differ in capitals; rename one of them"
            )


def _from_csv(file: Path, is_new: bool, channels: tuple[str, ...], labels: tuple[Label, ...]) -> Dataset:
    beside = file.parent / "dataset.json"
    meta = read_metadata(beside) if beside.is_file() else {}
    described = meta if {"channel_names", "modality", "labels"} & set(meta) else None  # else it answers reviewers alone
    rows = read_cases(file)
    cases = _in_order(file, with_lone_masks([case_of_row(file, number, row) for number, row in rows.items()]))
    if described is not None:
        channels = channels_of(beside, described)
    listed = _scheme_of(beside, described, is_new)
    if listed is None:
        labels = labels or labels_by_value(file, {case.id: case.label_files for case in cases})
    scheme = listed or LabelScheme(labels=labels)
    texts = {row["case"]: row.get("labelled") or row.get("labeled") for row in rows.values()}
    organs = {case: [name.strip() for name in text.split(";")] for case, text in texts.items() if text}
    named = labelled_of(meta)
    if isinstance(named, dict):  # it may name the folder's other cases, too
        named = {case: names for case, names in named.items() if case in texts and case not in organs}
        cases = _with_labelled(file if organs else beside, {**named, **organs}, scheme, cases)
    else:
        cases = _with_labelled(beside, named, scheme, cases)  # which refuses it
    channels = channels or counted_channels([case.images for case in cases])
    dataset = _dataset(file.stem, file.parent, channels, scheme, cases)
    return replace(dataset, is_listed=listed is not None)


def of_cases(dataset: Dataset, ids: Collection[str]) -> Dataset:
    """Return a dataset with some of its cases, by id."""
    return replace(dataset, cases=tuple(case for case in dataset.cases if case.id in ids))
