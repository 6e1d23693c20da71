"""The images that a second stage learns from: not the cache, but the dataset's own, at its own resolution."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from autoseg.dataset.case import Case
from autoseg.dataset.origin import dataset_of
from autoseg.errors import DatasetError
from autoseg.run import Run


def second_sources(run: Run, names: Collection[str]) -> Mapping[str, Case]:
    """Return the dataset's cases of these ids.

    Raises:
        DatasetError: If the dataset, a case or a file is not there.
    """
    try:
        cases = dataset_of(run).by_id
    except DatasetError as error:
        raise DatasetError(
            f"{error}; a second stage learns from the images themselves, so they must lie where this machine finds "
            f"them: {run.dataset_file} says where"
        ) from error
    gone = next((name for name in names if name not in cases), None)
    if gone is not None:
        raise DatasetError(
            f"{gone}: is no longer in the dataset, and a second stage needs its image; bring it back, or plan again "
            "without it"
        )
    own = {name: cases[name] for name in names}
    for name, case in own.items():
        missing = next((file for file in (*case.images, *case.label_files) if not file.exists()), None)
        if missing is not None:
            raise DatasetError(f"{name}: a second stage learns from {missing}, which is not there; bring it back")
    return own
