"""A CSV file of cases: a row each, with the paths of images and label maps and what else is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autoseg.dataset.case import Case
from autoseg.dataset.metadata import about_of
from autoseg.dataset.paths import path_of, require_known_type
from autoseg.errors import DatasetError
from autoseg.sheet import SheetError, read_sheet
from autoseg.words import shortened


def read_cases(file: Path) -> dict[int, dict[str, str]]:
    """Return the cells by line number, then column; case, image and label are never empty.

    Raises:
        DatasetError: If the file cannot be read, lacks a column, or a cell is blank that must not be.
    """
    try:
        sheet = read_sheet(file)
    except SheetError as error:
        raise DatasetError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error}); save it as comma-separated UTF-8") from error
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
    one_label = path_of(where, file.parent, texts["label"])
    labels = (one_label,) if one_label.exists() else _paths(where, file.parent, texts["label"])
    for path in (*images, *labels):
        require_known_type(where, path)
    patient = texts.get("patient") or texts["case"]
    label, *more = labels
    return Case(
        id=texts["case"], images=images, label=label, more_labels=tuple(more), patient=patient, about=about_of(texts)
    )


def _paths(where: str, root: Path, cell: str) -> tuple[Path, ...]:
    return tuple(path_of(where, root, part.strip()) for part in cell.split(";") if part.strip())
