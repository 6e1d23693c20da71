"""What the pictures of a report were drawn from: only those that would change are drawn again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from autoseg.files import write_text
from autoseg.run import ReportFolder

Sources = tuple[str, str | None]  # digests of the mask with all settings, and of image and label (None: not known)


class Drawings:
    """The pictures below a folder, with a digest of what each was drawn from; kept in a file in that folder."""

    def __init__(self, report: ReportFolder) -> None:
        """Read what the report's file says; without one that can be read, nothing is drawn yet."""
        self._report, self._folder, self._file = report, report.folder, report.drawings_file
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        notes = known.items() if isinstance(known, dict) else ()
        self._sources = {name: tuple(note) for name, note in notes if isinstance(note, list) and len(note) == 2}

    def has(self, picture: Path, sources: Sources) -> bool:
        """Return whether a picture is there and was drawn from just this, as far as it is known."""
        mask, others = self._sources.get(self._name(picture), (None, None))
        return picture.is_file() and mask == sources[0] and sources[1] in (None, others)

    def keep_only(self, pictures: Collection[Path]) -> None:
        """Remove the large pictures, which belong to one report alone, save `pictures` (without suffix)."""
        for file in [*self._report.organs.glob("*.*"), *self._report.surfaces.glob("*.*")]:
            if file.suffix in (".png", ".webp") and file.with_suffix("") not in pictures:
                file.unlink()

    def remember(self, sources: Iterable[tuple[Path, Sources]]) -> None:
        """Note what pictures were drawn from; those that are gone are forgotten."""
        self._sources |= {self._name(picture): digest for picture, digest in sources}
        there = {name: digest for name, digest in self._sources.items() if (self._folder / name).is_file()}
        write_text(self._file, json.dumps(there, indent=1, sort_keys=True))

    def _name(self, picture: Path) -> str:
        return picture.relative_to(self._folder).as_posix()
