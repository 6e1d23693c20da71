"""The scanner of a DICOM series, as its headers name it."""

from __future__ import annotations

from pathlib import Path

from autoseg.imaging.dicom_frames import UNUSABLE, is_dicom, odd_headers


def scanner_of(image: Path) -> str:
    """Return manufacturer and model of the scanner of a folder's first DICOM file; "" where it names none.

    Args:
        image: A folder that holds a series; anything else names no scanner.
    """
    import pydicom

    if not image.is_dir():
        return ""
    file = next((file for file in sorted(image.rglob("*")) if file.is_file() and is_dicom(file)), None)
    if file is None:
        return ""
    try:
        with odd_headers():
            tags = ["Manufacturer", "ManufacturerModelName"]
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
            words = " ".join(str(header.get(tag, "")) for tag in tags).split()
    except UNUSABLE:
        return ""
    return " ".join(dict.fromkeys(words))  # the model's name may begin with the manufacturer's
