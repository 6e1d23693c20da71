"""The CSV tables of a dataset, whatever is in them."""

from __future__ import annotations

from pathlib import Path

from autoseg.errors import DatasetError
from autoseg.sheet import Sheet, SheetError, read_sheet


def read_table(file: Path) -> Sheet:
    """Read a CSV file of a dataset.

    Raises:
        DatasetError: If it cannot be read, or is no sound CSV.
    """
    try:
        return read_sheet(file)
    except SheetError as error:
        raise DatasetError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error}); save it as comma-separated UTF-8") from error
