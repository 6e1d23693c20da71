"""A case: an image with its label map, as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autoseg.imaging.mask_folder import MaskFiles

NOTHING: Mapping[str, str] = {}  # the same of all cases


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One image with its label map. The files may be missing: `check` looks for them."""

    id: str  # usable as a file name, unique in the dataset
    images: tuple[Path, ...]  # one file a channel, or one file with all channels
    label: Path  # or the first of several files
    patient: str  # cases of one patient stay on one side of a split; the id where the dataset names none
    labelled: tuple[int, ...] | None = None  # values of the organs that the label map shows where they are; None: all
    about: Mapping[str, str] = field(default_factory=lambda: NOTHING)  # what else is said of it, as sex or scanner
    more_labels: tuple[Path, ...] = ()  # further files of the same image's structures
    is_mask: bool = False  # whether a label map in one file is the mask of one organ, called as its file

    @property
    def label_files(self) -> tuple[Path, ...]:
        """The files that the label map is in."""
        files = (self.label, *self.more_labels)
        return MaskFiles(files) if self.is_mask else files

    def shows(self, value: int) -> bool:
        """Return whether an organ is labelled in this case, if it is there."""
        return self.labelled is None or value in self.labelled
