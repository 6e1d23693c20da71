"""DICOM SEG: a mask as an object that a hospital's archive shows on its series. The only door to highdicom."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
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

    if sliced.scheme.overlapping:  # a plane of 0 and 1 for each segment
        masks = [sliced.scheme.mask(sliced.mask, organ.label) for organ in sliced.organs]
        numbers = np.stack(masks, axis=-1).astype(np.uint8)
    else:
        numbers = np.zeros(sliced.mask.shape, dtype=np.uint8)
        for number, organ in enumerate(sliced.organs, start=1):
            numbers[sliced.scheme.mask(sliced.mask, organ.label)] = number
    headers, used = sliced.headers, list[int]()
    if sliced.series.multi_frame:
        headers, numbers, used = _as_in_file(sliced, numbers)
    colours = organ_colours(sliced.scheme.labels)
    segmentation = hd.seg.Segmentation(
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
    if used:
        _refer_to(segmentation, used)
    return segmentation


def _as_in_file(
    sliced: SlicedMask, numbers: npt.NDArray[np.uint8]
) -> tuple[list[Any], npt.NDArray[np.uint8], list[int]]:
    """Return the header of an enhanced file, the segments' numbers in the order of its frames, and these frames.

    Only the frames of the volume are in the header: a file may hold others, such as further phases.

    Raises:
        ValueError: If the series is spread over several files.
    """
    frames = sliced.series.frames
    if len({frame.file for frame in frames}) > 1:
        raise ValueError("it lies in several multi-frame files")
    used = sorted(frame.number or 0 for frame in frames)
    header = deepcopy(sliced.headers[0])
    groups = header.PerFrameFunctionalGroupsSequence
    header.PerFrameFunctionalGroupsSequence = [groups[number] for number in used]
    header.NumberOfFrames = len(used)
    return [header], numbers[np.argsort([frame.number or 0 for frame in frames])], used


def _refer_to(segmentation: Any, used: Sequence[int]) -> None:
    """Set the numbers of the frames that are referred to, which count those of the volume, to the file's own."""
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence") or ():
            for source in derivation.get("SourceImageSequence") or ():
                if "ReferencedFrameNumber" in source:
                    source.ReferencedFrameNumber = used[int(source.ReferencedFrameNumber) - 1] + 1


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
