"""The viewer: a case in linked planes and 3D, in one HTML file that needs no network; and NiiVue, which draws it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from autoseg.errors import AutosegError
from autoseg.evaluation.formats import templates
from autoseg.figures.colours import organ_colour
from autoseg.files import atomic_path, write_text

PACKAGE, VERSION = "@niivue/niivue", "0.69.0"
TARBALL_SHA512 = (
    "60c8d0bc9803d56d9bec3ba8c64c250b85716eb80878f449e6ac90cd72b18b6b"
    "f6301560dbce4ffc2210ca0e3aa030c60c871a3656ddf8c86d3bf79d31b5c990"
)
SCRIPT_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
SCRIPT_NAME, NOTICE_NAME = "niivue.umd.js", "NIIVUE-LICENSE.txt"
BUNDLED = Path(__file__).parent / "niivue" / SCRIPT_NAME  # where a release may bring it along
FETCH_S = 180
_CACHES = {"darwin": "Library/Caches", "win32": "AppData/Local"}  # elsewhere .cache, all in the user's folder
_WAY_OUT = "install Node.js and run this once with a network; afterwards it works without"
_NOTICE = """\
{name} {version} ({licence}), {homepage}
It contains parts of its dependencies: {dependencies}.

BSD 2-Clause License

Copyright (c) 2021, Niivue
All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this
   list of conditions and the following disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice,
   this list of conditions and the following disclaimer in the documentation
   and/or other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Intensities to show black and white, with a name."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Organ:
    """An organ as the legend tells of it; a number that is not known is None."""

    name: str
    truth_ml: float | None
    prediction_ml: float | None
    dice: float | None  # 0 to 1


@dataclass(frozen=True, kw_only=True)
class ViewContent:
    """What a view shows. The volumes are .nii.gz files on one grid, their axes along right, front and head (RAS)."""

    title: str  # the dataset's name
    case: str
    notes: tuple[str, ...]  # a sentence each: what to know about what is shown
    image: bytes  # int16; an intensity is voxel * slope + intercept
    slope: float
    intercept: float
    unit: Literal["HU", ""]
    windows: tuple[Window, ...]  # the first is shown
    truth: bytes | None  # uint8: 0, or the organ's place in `organs`, from 1
    prediction: bytes | None  # as `truth`
    organs: tuple[Organ, ...]  # in label order


def view_page(content: ViewContent, script: str, notice: str) -> str:
    """Return one HTML page that shows a case: no script, style, font or image comes from outside it.

    Every text is escaped, so a label may be named `<script>`.

    Args:
        content: The case.
        script: NiiVue, from `niivue_file`.
        notice: Its licence, from the file beside it.
    """
    volumes = {"image": content.image, "truth": content.truth, "prediction": content.prediction}
    return (
        templates(Path(__file__).parent)
        .get_template("view.html.jinja")
        .render(
            content=content,
            colours=[organ_colour(index) for index in range(len(content.organs))],
            facts=_json(_facts(content)),
            volumes={
                name: base64.b64encode(data).decode("ascii") for name, data in volumes.items() if data is not None
            },
            script=re.sub(r"<(?=/?script|!--)", r"\\x3C", script, flags=re.IGNORECASE),
            notice=notice,
            version=VERSION,
        )
    )


def _facts(content: ViewContent) -> dict[str, Any]:
    """Return what the page's own script needs to know."""
    return {
        "slope": content.slope,
        "intercept": content.intercept,
        "unit": content.unit,
        "windows": [asdict(window) for window in content.windows],
        "organs": [{"name": organ.name, "colour": organ_colour(index)} for index, organ in enumerate(content.organs)],
    }


def _json(value: object) -> str:
    """Return JSON that may stand in a script element: nothing in it ends or opens one."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def niivue_file() -> Path:
    """Return NiiVue's script, which is fetched once with npm where it is not here; its licence lies beside it.

    Raises:
        AutosegError: If it must be fetched and cannot be: npm or a network is missing, or what came is another file.
        OSError: If it cannot be written.
    """
    return niivue_here() or bundle(_users_copy().parent)


def niivue_here() -> Path | None:
    """Return NiiVue's script where this computer has it: as a part of autoseg, or as the user's copy."""
    for file in (BUNDLED, _users_copy()):
        whole = file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == SCRIPT_SHA256
        if whole and file.with_name(NOTICE_NAME).is_file():  # else damaged, or of another version
            return file
    return None


def _users_copy() -> Path:
    return Path.home() / _CACHES.get(sys.platform, ".cache") / "autoseg" / f"niivue-{VERSION}" / SCRIPT_NAME


def bundle(folder: Path) -> Path:
    """Fetch NiiVue with npm into a folder, with its licence; return its script.

    A release takes it along with `python -m autoseg.report.viewer` before the wheel is built.

    Raises:
        AutosegError: If npm is missing or fails, or what it gave is another file.
        OSError: If the folder cannot be written.
    """
    with tempfile.TemporaryDirectory() as temporary:
        script, notice = _unpacked(_fetched(Path(temporary)))
    write_text(folder / NOTICE_NAME, notice)
    with atomic_path(folder / SCRIPT_NAME) as beside:
        beside.write_bytes(script)
    return folder / SCRIPT_NAME


def _fetched(folder: Path) -> bytes:
    """Return the package as npm gives it, with the content that was tested."""
    what = f"NiiVue {VERSION}, which draws the view,"
    npm = shutil.which("npm")
    if npm is None:
        raise AutosegError(f"{what} is not on this computer, and npm, which would fetch it, is missing; {_WAY_OUT}")
    command = [npm, "pack", "--ignore-scripts", f"{PACKAGE}@{VERSION}"]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=FETCH_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AutosegError(f"{what} could not be fetched: npm did not run to its end ({error}); {_WAY_OUT}") from error
    files = list(folder.glob("*.tgz"))
    if done.returncode or len(files) != 1:
        raise AutosegError(f"{what} could not be fetched: npm said {_last(done.stderr)!r}; {_WAY_OUT}")
    data = files[0].read_bytes()
    if hashlib.sha512(data).hexdigest() != TARBALL_SHA512:
        raise AutosegError(
            f"{files[0].name}: npm gave another file than the {PACKAGE} {VERSION} that was tested (wrong SHA-512); "
            "see where npm is set to fetch from (`npm config list`)"
        )
    return data


def _unpacked(package: bytes) -> tuple[bytes, str]:
    """Return the script and its licence notice out of the package; nothing else is unpacked."""
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        script, facts = (_member(archive, f"package/{name}") for name in ("dist/niivue.umd.js", "package.json"))
    package_json = json.loads(facts)
    notice = _NOTICE.format(
        name=package_json["name"],
        version=package_json["version"],
        licence=package_json["license"],
        homepage=package_json["homepage"],
        dependencies=", ".join(package_json["dependencies"]),
    )
    return script, notice


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise AutosegError(f"{PACKAGE} {VERSION}: {name} is not a file in it; report this")
    return stream.read()


def _last(output: bytes) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"


if __name__ == "__main__":
    bundle(BUNDLED.parent)
