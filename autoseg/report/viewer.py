"""The viewer: a case in linked planes and 3D, drawn by NiiVue, in one HTML file that needs no network."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from autoseg.figures.colours import organ_colour
from autoseg.report.formats import render_template

VERSION = "0.69.0"  # of NiiVue
NIIVUE = Path(__file__).parent / "niivue"
SCRIPT, NOTICE = NIIVUE / "niivue.umd.js", NIIVUE / "NIIVUE-LICENSE.txt"


@dataclass(frozen=True, kw_only=True)
class Window:
    """Intensities to show black and white, with a name."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Organ:
    """An organ of the legend; a number that is unknown is None."""

    name: str
    truth_ml: float | None
    prediction_ml: float | None
    dice: float | None  # 0 to 1


@dataclass(frozen=True, kw_only=True)
class ViewContent:
    """The content of a view; its volumes are .nii.gz files on one grid with axes to right, front and head (RAS)."""

    title: str  # the dataset's name
    case: str
    notes: tuple[str, ...]  # a sentence each, shown above the image
    image: bytes  # int16; an intensity is voxel * slope + intercept
    slope: float
    intercept: float
    unit: Literal["HU", ""]
    windows: tuple[Window, ...]  # the first is shown
    truth: bytes | None  # uint8: 0, or the organ's place in `organs`, from 1
    prediction: bytes | None  # as `truth`
    organs: tuple[Organ, ...]  # in label order
    slice_plane: int | None = None  # of a single slice: axial 0, coronal 1, sagittal 2


def view_page(content: ViewContent, before: str | None = None, after: str | None = None) -> str:
    """Return one HTML page that shows a case: no script, style, font or image comes from outside it.

    Every text is escaped, so a label may be named `<script>`.

    Args:
        content: What to show.
        before: The case whose page, in the same folder, is linked as the previous one.
        after: As the next one.

    Raises:
        OSError: If NiiVue is missing from the installation.
    """
    script = SCRIPT.read_text(encoding="utf-8")
    volumes = {"image": content.image, "truth": content.truth, "prediction": content.prediction}
    return render_template(
        "view.html.jinja",
        content=content,
        links=[
            (words, relation, case, f"{quote(case)}.html")
            for words, relation, case in (("← Previous", "prev", before), ("Next →", "next", after))
            if case is not None
        ],
        colours=[organ_colour(index) for index in range(len(content.organs))],
        facts=_json(_facts(content)),
        volumes={name: base64.b64encode(data).decode("ascii") for name, data in volumes.items() if data is not None},
        script=re.sub(r"<(?=/?script|!--)", r"\\x3C", script, flags=re.IGNORECASE),
        notice=NOTICE.read_text(encoding="utf-8"),
        version=VERSION,
    )


def _facts(content: ViewContent) -> dict[str, Any]:
    """Return the values that the script of the page reads."""
    return {
        "slope": content.slope,
        "intercept": content.intercept,
        "unit": content.unit,
        "slice": content.slice_plane,
        "windows": [asdict(window) for window in content.windows],
        "organs": [{"name": organ.name, "colour": organ_colour(index)} for index, organ in enumerate(content.organs)],
    }


def _json(value: object) -> str:
    """Return JSON that may stand in a script element: nothing in it ends or opens one."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
