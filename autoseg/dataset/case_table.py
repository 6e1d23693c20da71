"""A CSV file of cases: a row each, with the paths of images and label maps and what else is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autoseg.dataset.case import Case
from autoseg.dataset.metadata import about_of
from autoseg.dataset.paths import path_of, require_known_type
from autoseg.dataset.tables import read_table
from autoseg.errors import DatasetError
from autoseg.imaging.readers import strip_suffix
from autoseg.imaging.slicer_segments import strip_slicer_suffix
from autoseg.words import shortened


def read_cases(file: Path) -> dict[int, dict[str, str]]:
    """Return the cells by line number, then column; case, image and label are never empty.

    Raises:
        DatasetError: If the file cannot be read, lacks a column, or a cell is blank that must not be.
    """
    sheet = read_table(file)
    names = [column.lower() for column in sheet.columns]
    lacking = [column for column in ("case", "image", "label") if column not in names]
    if lacking and sheet.columns:
        found = shortened(",".join(sheet.columns))
        absent = ", ".join(lacking)
        raise DatasetError(f"{file}: needs the columns case,image,label, found {found}; add {absent}, or rename others")
    for number, row in sheet.rows.items():
        blank = [column for column in ("case", "image", "label") if not row[column].strip("; ")]
        if blank:
            raise DatasetError(f"{file}, line {number}: {blank[0]} is blank; fill it in, or remove the row")
    return sheet.rows


def case_of_row(file: Path, number: int, texts: Mapping[str, str]) -> Case:
    """Return the case of a row.

    Raises:
        DatasetError: If a path cannot be one, or names a file of a type that nothing here reads.
    """
    where = f"{file}, line {number}"
    images = _paths(where, file.parent, texts["image"])
    labels = _one_path(where, file.parent, texts["label"]) or _paths(where, file.parent, texts["label"])
    for path in (*images, *labels):
        require_known_type(where, path)
    patient = texts.get("patient") or texts["case"]
    label, *more = labels
    return Case(
        id=texts["case"], images=images, label=label, more_labels=tuple(more), patient=patient, about=about_of(texts)
    )


def with_lone_masks(cases: Sequence[Case]) -> list[Case]:
    """Return the cases, each lone image among the label maps as a mask where other cases list several masks."""
    has_lists = any(sum(map(_is_image, case.label_files)) > 1 for case in cases)
    return [replace(c, is_mask=has_lists and not c.more_labels and _is_image(c.label)) for c in cases]


def _is_image(file: Path) -> bool:
    return strip_suffix(file) is not None and strip_slicer_suffix(file) is None


def _one_path(where: str, root: Path, cell: str) -> tuple[Path, ...]:
    """Return a cell as the one file that it names, though there be ; in its name; nothing where there is none such."""
    try:
        file = path_of(where, root, cell)
        return (file,) if file.exists() else ()
    except (DatasetError, OSError):  # many names are longer than one may be
        return ()


def _paths(where: str, root: Path, cell: str) -> tuple[Path, ...]:
    return tuple(path_of(where, root, part.strip()) for part in cell.split(";") if part.strip())
