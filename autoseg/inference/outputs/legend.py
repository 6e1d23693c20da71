"""Names and colours of the organs, as 3D Slicer and ITK-SNAP read them: the same colours as in every figure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from autoseg.figures.colours import organ_colours
from autoseg.files import write_text
from autoseg.imaging.grid import Voxels
from autoseg.labels import Label

LONGEST_BYTES = 120  # of an organ in a file's name: file systems allow 255 in all
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{kind}{n}" for kind in ("COM", "LPT") for n in range(1, 10))}  # Windows'
ITK_SNAP, SLICER = "labels_itksnap.txt", "labels_slicer.ctbl"


def write_legends(folder: Path, labels: Sequence[Label], mask: str = "") -> list[Path]:
    """Write names and colours as label descriptions of ITK-SNAP and as a colour table of 3D Slicer, where they differ.

    Args:
        folder: Of the masks.
        labels: Organs.
        mask: Name of the one mask that they are of, which begins the names of the files; "": all of the folder.

    Returns:
        The files that were not there before.

    Raises:
        OSError: If the disk is full.
    """
    snap = ['    0     0    0    0        0  0  0    "Clear Label"']
    slicer = ["# Color table file", "0 background 0 0 0 0"]
    colours = organ_colours(labels)
    for label in labels:
        red, green, blue = rgb(colours[label.value])
        name = label.name.replace('"', "'")
        snap.append(f'{label.value:5d}   {red:3d}  {green:3d}  {blue:3d}        1  1  1    "{name}"')
        slicer.append(f"{label.value} {'_'.join(label.name.split())} {red} {green} {blue} 255")
    of = f"{mask}_" if mask else ""
    texts = {folder / f"{of}{ITK_SNAP}": "\n".join(snap) + "\n", folder / f"{of}{SLICER}": "\n".join(slicer) + "\n"}
    fresh = [file for file in texts if not file.exists()]
    for file, text in texts.items():
        if file in fresh or file.read_text(encoding="utf-8", errors="replace") != text:  # a full disk takes no other
            write_text(file, text)
    return fresh


def segment_fields(labels: Sequence[Label], shape: Voxels) -> dict[str, str]:
    """Return the fields of an NRRD header from which 3D Slicer takes segments, where the name ends in .seg.nrrd.

    Args:
        labels: Organs.
        shape: Voxels of the mask (Z, Y, X).
    """
    z, y, x = (n - 1 for n in shape)
    fields = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    colours = organ_colours(labels)
    for index, label in enumerate(labels):
        segment = f"Segment{index}_"
        colour = " ".join(f"{part / 255:.4f}" for part in rgb(colours[label.value]))
        fields |= {
            f"{segment}ID": f"Segment_{label.value}",
            f"{segment}Name": label.name,
            f"{segment}Color": colour,
            f"{segment}LabelValue": str(label.value),
            f"{segment}Layer": "0",
            f"{segment}Extent": f"0 {x} 0 {y} 0 {z}",
        }
    return fields


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of #RRGGBB, 0 to 255.

    >>> rgb("#D55E00")
    (213, 94, 0)
    """
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def file_names(labels: Sequence[Label]) -> list[str]:
    """Return a name for a file of each organ; where two would be the same, with the label's value; a long one is cut.

    >>> file_names([Label(value=1, name="left lung / upper"), Label(value=2, name="C1+"), Label(value=3, name="C1-")])
    ['left_lung_upper', 'C1_2', 'C1_3']
    >>> file_names([Label(value=1, name="Aux")])  # a device of Windows, in whatever capitals
    ['Aux_']
    """
    plain = [_cut(re.sub(r"\W+", "_", label.name).strip("_")) or "organ" for label in labels]
    plain = [f"{name}_" if name.upper() in DEVICES else name for name in plain]
    counts = Counter(name.casefold() for name in plain)
    return [
        name if counts[name.casefold()] == 1 else f"{name}_{label.value}"
        for name, label in zip(plain, labels, strict=True)
    ]


def _cut(name: str) -> str:
    """Return the start of a name that is too long for a file's name with what is added to it."""
    return name.encode()[:LONGEST_BYTES].decode(errors="ignore").strip("_")
