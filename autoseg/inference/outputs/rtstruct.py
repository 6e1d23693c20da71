"""RT Structure Set: a mask as contours that a treatment planning system takes. Writes with pydicom.

An organ's contours are CLOSED_PLANAR, and its holes are keyholes: all systems read those, and they mean the same
to one that adds an organ's contours up and to one that takes their XOR. CLOSEDPLANAR_XOR, which would show holes as
contours of their own, came into the standard late, and many readers know nothing of it or fill the holes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.figures.colours import organ_colours
from autoseg.imaging.dicom import Series
from autoseg.inference.outputs.contours import Points, slice_contours
from autoseg.inference.outputs.dicom_object import Organ, SeriesMask, SlicedMask, write_object
from autoseg.inference.outputs.legend import rgb
from autoseg.labels import Label
from autoseg.version import VERSION

logger = logging.getLogger(__name__)
SUFFIX = ".rtstruct.dcm"
STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"  # RT Structure Set Storage
STUDY = "1.2.840.10008.3.1.2.3.1"  # what structure sets give as the class of a study
IMPLICIT_VR = "1.2.840.10008.1.2"  # with explicit ones a contour ends at 64 KiB, about 2,000 points
CONTOUR_DATA = 0x30060050  # its tag
UTF_8 = "ISO_IR 192"
LONG = 64  # characters that DICOM's long strings hold
# what is the patient's and the study's, copied from the series; what it lacks stays empty
COPIED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip


def write_rtstruct(file: Path, source: SeriesMask) -> None:
    """Write a mask as an RT Structure Set that refers to the series it was made from; nothing where no organ was found.

    Args:
        file: Where.
        source: Mask and series; an organ that was not found is left out. An ROI has the number of its label.

    Raises:
        VolumeError: If the series cannot be read or referred to.
        OSError: If the disk is full.
    """
    write_object(file, "an RT Structure Set", source, _with_contours)


def _with_contours(sliced: SlicedMask) -> Any:
    """Return the whole structure set."""
    images = [
        _reference(header, frame.number) for header, frame in zip(sliced.headers, sliced.series.frames, strict=True)
    ]
    structure_set = _structure_set(sliced.headers[0], images, [organ.label for organ in sliced.organs])
    colours = organ_colours(sliced.scheme.labels)
    structure_set.ROIContourSequence = [
        _dataset(
            ROIDisplayColor=list(rgb(colours[organ.label.value])),
            ReferencedROINumber=organ.label.value,
            ContourSequence=_contours(sliced, organ, images),
        )
        for organ in sliced.organs
    ]
    return structure_set


def _reference(header: Any, number: int | None) -> Any:
    """Return the reference to a slice; `number` is that of the frame, from 0, in a file of several."""
    image = _dataset(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
    if number is not None:
        image.ReferencedFrameNumber = number + 1
    return image


def in_patient(points: Points, series: Series, number: int) -> npt.NDArray[np.float64]:
    """Return where points of a slice lie in the patient.

    Args:
        points: Column and row in voxels (points, 2).
        series: Of the slice.
        number: Of the slice, in the order of positions.

    Returns:
        Patient x, y, z in mm (points, 3).
    """
    row_mm, column_mm = series.pixel_mm
    return np.asarray(series.positions_mm[number] + (points * (column_mm, row_mm)) @ series.orientation)


def _contours(sliced: SlicedMask, organ: Organ, images: Sequence[Any]) -> list[Any]:
    """Return the items of an organ's ContourSequence, slice by slice; `images` are references to the slices."""
    items: list[Any] = []
    for number in range(organ.slices.start, organ.slices.stop):
        for points in slice_contours(sliced.scheme.mask(sliced.mask[number], organ.label)):
            item = _dataset(
                ContourImageSequence=[images[number]],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourNumber=len(items) + 1,
            )
            # implicit VRs leave open what a text is: as numbers ("DS") pydicom would check each on the way
            text = "\\".join(f"{value:.4f}" for value in in_patient(points, sliced.series, number).ravel())
            item.add_new(CONTOUR_DATA, "UT", text)
            items.append(item)
    return items


def _structure_set(first: Any, images: Sequence[Any], labels: Sequence[Label]) -> Any:
    """Return a structure set with everything but the contours.

    Args:
        first: Header of the series' first slice.
        images: References to all slices.
        labels: Organs that were found.
    """
    names = {label.value: _roi_name(label.name) for label in labels}
    structure_set = _empty(first, names.values())
    now = datetime.now()
    structure_set.StructureSetLabel, structure_set.InstanceNumber, structure_set.ApprovalStatus = (
        "autoseg",
        1,
        "UNAPPROVED",
    )
    structure_set.StructureSetDate, structure_set.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    frame = structure_set.FrameOfReferenceUID
    within = _dataset(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=list(images))
    study = _dataset(
        ReferencedSOPClassUID=STUDY,
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[within],
    )
    structure_set.ReferencedFrameOfReferenceSequence = [
        _dataset(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])
    ]
    structure_set.StructureSetROISequence = [
        _dataset(ROINumber=n, ReferencedFrameOfReferenceUID=frame, ROIName=name, ROIGenerationAlgorithm="AUTOMATIC")
        for n, name in names.items()
    ]
    structure_set.RTROIObservationsSequence = [
        _dataset(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType="ORGAN", ROIInterpreter="")
        for n in names
    ]
    return structure_set


def _empty(first: Any, names: Iterable[str]) -> Any:
    """Return an object with what all have: patient, study, its own series, manufacturer, the text's encoding.

    Args:
        first: Header of the series' first slice.
        names: Further texts that must be encoded.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, generate_uid

    meta: Any = FileMetaDataset()
    meta.FileMetaInformationGroupLength, meta.FileMetaInformationVersion = 0, b"\0\1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = STORAGE, generate_uid()
    meta.TransferSyntaxUID, meta.ImplementationClassUID = IMPLICIT_VR, PYDICOM_IMPLEMENTATION_UID
    dataset: Any = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=True, is_little_endian=True)
    copied = {tag: str(first.get(tag) or "") for tag in COPIED}
    if not all(text.isascii() for text in (*copied.values(), *names)):
        dataset.SpecificCharacterSet = UTF_8
    for tag, text in copied.items():
        setattr(dataset, tag, text)
    dataset.SOPClassUID, dataset.SOPInstanceUID = STORAGE, meta.MediaStorageSOPInstanceUID
    dataset.FrameOfReferenceUID = first.get("FrameOfReferenceUID") or generate_uid(
        entropy_srcs=[first.SeriesInstanceUID]
    )
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    dataset.SeriesNumber, dataset.SeriesDescription, dataset.OperatorsName = 1001, "autoseg", ""
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = "autoseg", "autoseg", VERSION
    return dataset


def _dataset(**elements: Any) -> Any:
    """Return a pydicom dataset of elements by keyword."""
    from pydicom.dataset import Dataset

    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _roi_name(name: str) -> str:
    r"""Return an organ's name as DICOM's long strings allow: no backslash, no control characters, at most 64.

    >>> _roi_name("lung\\left")
    'lung/left'
    """
    return "".join(c for c in name.replace("\\", "/") if c.isprintable()).strip()[:LONG] or "organ"
