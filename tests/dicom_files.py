"""DICOM files for tests: a CT series file by file, and the same as one enhanced file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

CT, ENHANCED_CT, PLAIN = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.1.2.1"
SEGMENTATION, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def item(**fields: object) -> Dataset:
    """Return a dataset of fields by keyword."""
    dataset = Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset


def voxels(shape: tuple[int, int, int] = (6, 5, 4)) -> npt.NDArray[np.int16]:
    """Return different values in HU (slices, rows, columns)."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape) - 50


def _image(instance: str, size: tuple[int, ...], storage: str) -> Any:
    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = storage, instance, PLAIN
    one: Any = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    one.SOPClassUID, one.SOPInstanceUID, one.Modality = storage, instance, "CT"
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
    one.PatientName, one.PatientID = "Doe^Jane", "7"
    one.Rows, one.Columns = size
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    return one


def write_ct(
    folder: Path,
    array: npt.NDArray[np.int16],
    step_mm: float = 2.5,
    orientation: Sequence[float] = AXIAL,
    change: Callable[[int, Any], None] | None = None,
    name: str = "im{:03d}.dcm",
    **fields: object,
) -> Path:
    """Write a series, one file a slice; `fields` are set in all, `change(number, dataset)` may alter each."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    for number, part in enumerate(array):
        one = _image(f"1.2.3.{number + 1}", part.shape, CT)
        one.ImagePositionPatient = [f"{v:.6g}" for v in np.array([-30, -40, -20]) + number * step_mm * normal]
        one.ImageOrientationPatient = [f"{v:.10g}" for v in orientation]
        one.PixelSpacing, one.SliceThickness = ["1", "1"], str(step_mm)
        one.RescaleSlope, one.RescaleIntercept = "1", "-1024"
        one.PixelData = (part + 1024).astype("<i2").tobytes()
        for keyword, value in fields.items():
            setattr(one, keyword, value)
        if change is not None:
            change(number, one)
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        pydicom.dcmwrite(folder / name.format(number), one, enforce_file_format=True)
    return folder


def write_enhanced(
    file: Path, array: npt.NDArray[np.int16], order: Sequence[int], slopes: Sequence[float], **fields: object
) -> Path:
    """Write an enhanced CT of slices 2.5 mm apart, its frames in the given order, slice n stored over its slope."""
    one = _image("1.2.7", array.shape[1:], ENHANCED_CT)
    one.NumberOfFrames, one.ImageType = len(order), ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    one.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=["1", "1"], SliceThickness="2.5")],
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        )
    ]
    one.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=["-30", "-40", str(-20 + 2.5 * n)])],
            PixelValueTransformationSequence=[item(RescaleIntercept="-1024", RescaleSlope=str(slopes[n]))],
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=n + 1)],
        )
        for n in order
    ]
    one.PixelData = np.stack([((array[n] + 1024) / slopes[n]).round() for n in order]).astype("<i2").tobytes()
    for keyword, value in fields.items():
        setattr(one, keyword, value)
    file.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(file, one, enforce_file_format=True)
    return file


def without_preamble(file: Path) -> None:
    """Write a file again as older consoles do: no preamble, no group 0002, implicit value representations."""
    one = pydicom.dcmread(file)
    bare = Dataset()
    bare.update(one)
    bare.save_as(file, implicit_vr=True, little_endian=True, enforce_file_format=False)


def write_segmentation(
    file: Path,
    label: npt.NDArray[np.int_],
    names: Sequence[str],
    step_mm: float = 2.5,
    slices: Sequence[int] | None = None,
    masks: Sequence[npt.NDArray[np.bool_]] | None = None,
    **fields: object,
) -> Path:
    """Write a DICOM SEG on the grid of `write_ct`: segment n, named by names[n - 1], where `label` (Z, Y, X) is n.

    Args:
        file: Where.
        label: Values of the segments.
        names: SegmentLabel of each.
        step_mm: Of the slices.
        slices: That get a frame; None: those that have a voxel of the segment.
        masks: In place of `label`: of each segment, they may overlap.
        **fields: Set last.
    """
    masks = masks or [label == number for number in range(1, len(names) + 1)]
    one = _image("1.2.9", label.shape[1:], SEGMENTATION)
    one.Modality, one.SegmentationType = "SEG", "BINARY"
    one.BitsAllocated = one.BitsStored = 1
    one.HighBit = one.PixelRepresentation = 0
    one.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[
                item(PixelSpacing=["1", "1"], SliceThickness=str(step_mm), SpacingBetweenSlices=str(step_mm))
            ],
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        )
    ]
    one.SegmentSequence = [
        item(SegmentNumber=number, SegmentLabel=name, SegmentAlgorithmType="MANUAL")
        for number, name in enumerate(names, start=1)
    ]
    frames = [
        (number, z)
        for number, mask in enumerate(masks, start=1)
        for z in (slices if slices is not None else np.flatnonzero(mask.any(axis=(1, 2))))
    ]
    one.NumberOfFrames = len(frames)
    one.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=["-30", "-40", str(-20 + step_mm * z)])],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
        )
        for number, z in frames
    ]
    stack = np.array([masks[number - 1][z] for number, z in frames])
    one.PixelData = np.packbits(stack.ravel(), bitorder="little").tobytes()
    for keyword, value in fields.items():
        setattr(one, keyword, value)
    one.PixelData += bytes(len(one.PixelData) % 2)
    file.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(file, one, enforce_file_format=True)
    return file


def square(z: float, first: tuple[float, float], last: tuple[float, float]) -> list[tuple[float, float, float]]:
    """Return a contour around the voxels from one (column, row) to another in slice z of the grid of `write_ct`."""
    (x, y), (to_x, to_y) = first, last
    corners = ((x - 0.5, y - 0.5), (to_x + 0.5, y - 0.5), (to_x + 0.5, to_y + 0.5), (x - 0.5, to_y + 0.5))
    return [(-30 + x, -40 + y, -20 + 2.5 * z) for x, y in corners]


def write_structures(
    file: Path,
    structures: Sequence[tuple[str, Sequence[Sequence[tuple[float, float, float]]]]],
    series: str = "1.2.5",
    frame: str = "1.2.6",
    kind: str = "CLOSED_PLANAR",
) -> Path:
    """Write an RTSTRUCT.

    Args:
        file: Where.
        structures: Name and contours (points in mm) of each; their numbers count from 1.
        series: SeriesInstanceUID that it refers to; "" for none.
        frame: FrameOfReferenceUID.
        kind: ContourGeometricType of all.
    """
    one = _image("1.2.11", (1, 1), STRUCTURE_SET)
    one.Modality = "RTSTRUCT"
    one.StructureSetROISequence = [
        item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=frame)
        for number, (name, _) in enumerate(structures, start=1)
    ]
    one.ROIContourSequence = [
        item(
            ReferencedROINumber=number,
            ContourSequence=[
                item(
                    ContourGeometricType=kind,
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{v:.6g}" for point in points for v in point],
                )
                for points in contours
            ],
        )
        for number, (_, contours) in enumerate(structures, start=1)
    ]
    if series:
        within = item(RTReferencedSeriesSequence=[item(SeriesInstanceUID=series)])
        one.ReferencedFrameOfReferenceSequence = [item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[within])]
    file.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(file, one, enforce_file_format=True)
    return file
