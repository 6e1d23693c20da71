"""DICOM SEG: a mask as an object that a hospital's archive shows on its series. The only door to highdicom."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.figures.colours import organ_colours
from autoseg.inference.outputs.dicom_object import SeriesMask, SlicedMask, write_object
from autoseg.inference.outputs.legend import rgb
from autoseg.labels import Label
from autoseg.version import VERSION

logger = logging.getLogger(__name__)
SUFFIX = ".seg.dcm"
NO_PACKAGE = "--dicom-seg: the package highdicom is not installed; run pip install highdicom"
# SNOMED CT codes of organs by their names in lower case; any other is "Anatomical structure"
CODES = {
    "liver": "10200004", "spleen": "78961009", "pancreas": "15776009", "gallbladder": "28231008",
    "stomach": "69695003", "aorta": "15825003", "esophagus": "32849002", "duodenum": "38848004",
    "urinary bladder": "89837001", "bladder": "89837001", "prostate": "41216001", "heart": "80891009",
    "brainstem": "15926001", "spinal cord": "2748008", "spinalcord": "2748008", "mandible": "91609006",
    "left kidney": "18639004", "right kidney": "9846003", "left lung": "44029006", "right lung": "3341006",
    "portal vein": "32764006", "vein": "29092000", "artery": "51114001",
}  # fmt: skip
ANATOMY = ("91723000", "Anatomical structure")


def write_dicom_seg(file: Path, source: SeriesMask) -> None:
    """Write a mask as a DICOM SEG object that refers to the series it was made from; nothing where no organ was found.

    Args:
        file: Where.
        source: Mask and series; an organ that was not found is left out.

    Raises:
        VolumeError: If the package highdicom is missing or refuses the series.
        OSError: If the disk is full.
    """
    require_highdicom()
    write_object(file, "a DICOM SEG", source, _segmentation)


def _segmentation(sliced: SlicedMask) -> Any:
    """Return the object, its segments numbered from 1 in label order."""
    import highdicom as hd

    numbers = np.zeros(sliced.mask.shape, dtype=np.uint8)
    for number, organ in enumerate(sliced.organs, start=1):
        numbers[sliced.scheme.mask(sliced.mask, organ.label)] = number
    headers = sliced.headers
    if sliced.series.multi_frame:
        headers, numbers = _as_in_file(sliced, numbers)
    colours = organ_colours(sliced.scheme.labels)
    return hd.seg.Segmentation(
        source_images=headers,
        pixel_array=numbers,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _described(n, colours[o.label.value], o.label) for n, o in enumerate(sliced.organs, start=1)
        ],
        series_instance_uid=hd.UID(),
        series_number=1000,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="autoseg",
        manufacturer_model_name="autoseg",
        software_versions=VERSION,
        device_serial_number="0",
        series_description="autoseg",
    )


def _as_in_file(sliced: SlicedMask, numbers: npt.NDArray[np.uint8]) -> tuple[list[Any], npt.NDArray[np.uint8]]:
    """Return the one header of an enhanced file, and the segments' numbers in the order of its frames.

    Raises:
        ValueError: If the series is spread over several files, or is a part of one.
    """
    header, frames = sliced.headers[0], sliced.series.frames
    if len({frame.file for frame in frames}) > 1 or int(header.NumberOfFrames) != len(frames):
        raise ValueError("it is a part of a multi-frame file, or several such files")
    return [header], numbers[np.argsort([frame.number or 0 for frame in frames])]


def require_highdicom() -> None:
    """Refuse early what `write_dicom_seg` could not do.

    Raises:
        VolumeError: If the package highdicom is missing.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise VolumeError(NO_PACKAGE) from error


def _described(number: int, colour: str, label: Label) -> Any:
    import highdicom as hd

    family = hd.sr.CodedConcept("123109", "DCM", "Artificial Intelligence")
    algorithm = hd.AlgorithmIdentificationSequence(name="autoseg", version=VERSION, family=family)
    code = CODES.get(label.name.lower().replace("_", " "))
    organ = (
        hd.sr.CodedConcept(code, "SCT", label.name[:64]) if code else hd.sr.CodedConcept(ANATOMY[0], "SCT", ANATOMY[1])
    )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name[:64],
        segmented_property_category=hd.sr.CodedConcept(ANATOMY[0], "SCT", ANATOMY[1]),
        segmented_property_type=organ,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        display_color=hd.color.CIELabColor.from_rgb(*rgb(colour)),
    )
