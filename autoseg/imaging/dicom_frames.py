"""The headers of DICOM files: where each frame lies, how it is scaled, what it belongs to.

A file is one frame, a slice, or in the enhanced forms of CT and MR several with a place each. Headers only; files
need neither a suffix nor the preamble, which older consoles leave out.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.words import shortened

MAGIC_AT = 128  # byte at which a DICOM file says that it is one
BARE = (b"\x08\x00", b"\x02\x00", b"\x00\x08")  # groups that a file without a preamble begins with, 0008 in both orders
DICOM_SUFFIXES = (".dcm", ".ima")
IMAGES = {f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "2.1", "4", "4.1", "20", "128", "130")}  # CT, MR, NM, PET
NOT_IMAGES = {"SR", "PR", "KO", "SEG", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "DOC", "PLAN"}  # modalities
JPEG_XL = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112))  # pydicom has no name for them
# what is one within a series, besides the pixel spacing; blank in some files is no difference
IDENTITY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "Units",
)
# what tells volumes apart that share a series, in the order in which it is asked
PHASES = (
    "AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoNumbers", "EchoTime",
    "EffectiveEchoTime", "DiffusionBValue", "InversionTime", "NominalPercentageOfCardiacPhase", "TriggerTime",
    "NominalCardiacTriggerDelayTime", "ImageType", "FrameType", "ConvolutionKernel", "ContrastBolusAgent",
    "AcquisitionDateTime", "AcquisitionTime", "ContentTime", "FrameAcquisitionNumber", "StackID",
)  # fmt: skip
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")  # of the enhanced forms
TAGS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "Rows", "Columns", "NumberOfFrames",
    "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient",
    "RescaleSlope", "RescaleIntercept", "PhotometricInterpretation", *IDENTITY, *PHASES, *GROUPS,
)  # fmt: skip
UNUSABLE = (OSError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The fields of a frame's header that matter here."""

    file: Path
    number: int | None  # within a file of several, from 0; None: the file is one slice
    uid: str  # of the series
    instance: str  # SOPInstanceUID
    modality: str
    description: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]  # along rows and columns, patient x, y, z each
    pixel_mm: tuple[float, float]  # between rows, between columns
    size: tuple[int, int]  # rows, columns
    thickness_mm: float | None
    slope: float | None
    intercept: float | None
    inverted: bool  # whether low values are shown bright (MONOCHROME1); the values themselves are as any
    identity: tuple[str, ...]  # values of IDENTITY
    phase: tuple[str, ...]  # values of PHASES


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A DICOM file, or a frame of it, that is no slice of a volume."""

    file: Path
    reason: str
    image: bool  # False: another kind of object, such as a report


def is_dicom(file: Path) -> bool:
    """Return whether a file says that it is DICOM, or begins as DICOM without a preamble does."""
    try:
        with file.open("rb") as stream:
            start = stream.read(MAGIC_AT + 4)
    except OSError:
        return False
    return start[MAGIC_AT:] == b"DICM" or (start[:2] in BARE and _bare_header(file) is not None)


def read_frames(file: Path) -> tuple[Frame, ...] | LeftOut | None:
    """Return the frames of a DICOM file; why it is left out; or None for another kind of file."""
    import pydicom

    try:
        with file.open("rb") as stream:
            start = stream.read(MAGIC_AT + 4)
        with odd_headers():
            if start[MAGIC_AT:] == b"DICM":
                header: Any = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
            else:
                header = _bare_header(file) if start[:2] in BARE else None
            if header is None and file.suffix.lower() in DICOM_SUFFIXES:
                return LeftOut(file=file, reason="an empty or damaged file", image=True)
            if header is None:
                return None
            if "Rows" not in header and _storage(header) in IMAGES:
                return LeftOut(file=file, reason="a slice whose header is cut short", image=True)
            reason = _reason_against(header)
            if reason:
                return LeftOut(file=file, reason=reason, image=_is_image(header))
            if GROUPS[1] in header:
                return tuple(enhanced_frames(file, header))
            return (_read_frame(file, None, header, (header,)),)
    except UNUSABLE as error:
        return LeftOut(file=file, reason=f"its DICOM header cannot be used ({shortened(error, 120)})", image=True)


@contextmanager
def odd_headers() -> Iterator[None]:
    """Raise pydicom's own errors, which have no base in common, as ValueError; its warnings tell users nothing."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            yield
        except (BytesLengthException, InvalidDicomError) as error:
            raise ValueError(str(error)) from error


def read_voxels(frames: Sequence[Frame]) -> Iterator[npt.NDArray[Any]]:
    """Yield the scaled values (HU) of frames, (rows, columns), decoded by pydicom: each is scaled in its own way.

    Raises:
        VolumeError: If one cannot be decoded.
    """
    import pydicom

    whole = all(frame.slope in (None, 1) and float(frame.intercept or 0).is_integer() for frame in frames)
    file, voxels = None, np.zeros(0)
    for frame in frames:
        if frame.file != file:
            file = frame.file
            try:
                with odd_headers():
                    voxels = pydicom.dcmread(file, force=True).pixel_array
            except (*UNUSABLE, RuntimeError) as error:
                raise VolumeError(
                    f"{file}: its frames ({transfer_syntax(file)}) cannot be read ({shortened(error, 120)}); "
                    "decompress the file or convert it to NIfTI"
                ) from error
        stored = voxels if frame.number is None or voxels.ndim == 2 else voxels[frame.number]
        if whole and stored.dtype.kind in "iu":
            yield stored.astype(np.int32) + int(frame.intercept or 0)
        else:
            slope = 1.0 if frame.slope is None else frame.slope
            yield (stored.astype(np.float64) * slope + (frame.intercept or 0.0)).astype(np.float32)


def same_voxels(one: Path, other: Path) -> bool:
    """Return whether two files hold the same voxels, as stored."""
    import pydicom

    try:
        with odd_headers():
            first, second = (pydicom.dcmread(file, force=True) for file in (one, other))
            return bool(first.PixelData == second.PixelData)
    except UNUSABLE:
        return False


def transfer_syntax(file: Path) -> str:
    """Name the compression of a file's voxels."""
    import pydicom

    try:
        with odd_headers():
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
    except UNUSABLE:
        return "of an unknown kind"
    return "JPEG XL" if syntax in JPEG_XL else shortened(pydicom.uid.UID(syntax).name)


def _bare_header(file: Path) -> Any | None:
    """Return the header of a file without a preamble; None where it is no DICOM after all."""
    import pydicom

    try:
        with odd_headers():
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
            return header if "SOPClassUID" in header and "Rows" in header else None
    except UNUSABLE:
        return None


def _storage(header: Any) -> str:
    """Return the storage class of an object, which the beginning of its file repeats."""
    return str(header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID") or "")


def _is_image(header: Any) -> bool:
    return "Rows" in header and str(header.get("Modality")) not in NOT_IMAGES


def _reason_against(header: Any) -> str:
    """Return why a file is no slice of a volume; nothing where it may be one."""
    if not _is_image(header):
        return f"{header.get('Modality') or 'an object'} that is no image"
    if "LOCALIZER" in [str(part).upper() for part in header.get("ImageType") or ()]:
        return "a scout (localizer)"
    if GROUPS[1] in header:
        return ""
    if int(header.get("NumberOfFrames") or 1) > 1:
        return "several frames in one file that do not say where each lies: convert it to NIfTI, or a film to PNGs"
    if "ImagePositionPatient" not in header:
        return "an image without a place in the patient (ImagePositionPatient), such as a radiograph"
    return ""


def enhanced_frames(file: Path, header: Any) -> Iterator[Frame]:
    """Yield the frames of an enhanced file, each from its own functional groups and those that all share.

    Raises:
        ValueError, AttributeError: If something is missing or no number.
    """
    shared = [_items(group) for group in header.get(GROUPS[0]) or ()]
    own = list(header[GROUPS[1]].value)
    if len(own) != int(header.get("NumberOfFrames") or 1):
        raise ValueError(f"{len(own)} places of {header.get('NumberOfFrames')} frames")
    common = [item for group in shared for item in group]
    for number, group in enumerate(own):
        yield _read_frame(file, number, header, (*_items(group), *common, header))


def _items(group: Any) -> list[Any]:
    """Return the datasets within a functional group; a maker's private ones may hold another frame's fields."""
    return [item for part in group if part.VR == "SQ" and not part.tag.is_private for item in part.value]


def _read_frame(file: Path, number: int | None, header: Any, sources: Sequence[Any]) -> Frame:
    """Return what a header says of a frame.

    Args:
        file: Of the frame.
        number: Of the frame in the file.
        header: Of the file.
        sources: Datasets that are asked for a field, the first that has it answers.

    Raises:
        ValueError, AttributeError: If something is missing or no number.
    """

    def field(name: str) -> Any:
        return next((source.get(name) for source in sources if source.get(name) not in (None, "")), None)

    def numbers(name: str, count: int) -> tuple[float, ...]:
        values = tuple(float(v) for v in field(name) or ())
        if len(values) != count or not all(map(math.isfinite, values)):
            raise ValueError(f"{name} is {list(values) or 'missing'}")
        return values

    orientation, pixel_mm = numbers("ImageOrientationPatient", 6), numbers("PixelSpacing", 2)
    if abs(np.linalg.norm(np.cross(orientation[:3], orientation[3:])) - 1) > 0.01 or min(pixel_mm) <= 0:
        raise ValueError(f"orientation {orientation}, pixel spacing {pixel_mm}")
    thickness = field("SpacingBetweenSlices") or field("SliceThickness")
    slope, intercept = field("RescaleSlope"), field("RescaleIntercept")
    meta = header.file_meta.get("MediaStorageSOPInstanceUID", "")
    return Frame(
        file=file,
        number=number,
        uid=str(header.get("SeriesInstanceUID") or ""),
        instance=str(header.get("SOPInstanceUID") or meta or ""),
        modality=str(header.get("Modality") or "?"),
        description=str(header.get("SeriesDescription") or ""),
        position=numbers("ImagePositionPatient", 3),
        orientation=orientation,
        pixel_mm=(pixel_mm[0], pixel_mm[1]),
        size=(int(header.Rows), int(header.Columns)),
        thickness_mm=abs(float(thickness)) if thickness else None,
        slope=None if slope is None else float(slope),
        intercept=None if intercept is None else float(intercept),
        inverted=str(header.get("PhotometricInterpretation")) == "MONOCHROME1",
        identity=tuple(_text(header.get(name)) for name in IDENTITY),
        phase=tuple(_text(field(name)) for name in PHASES),
    )


def _text(value: Any) -> str:
    """Return a field's value, or values, as text."""
    if value is None:
        return ""
    several = isinstance(value, MutableSequence)
    return ("/".join(str(part) for part in value) if several else str(value)).strip()
