"""autoseg: self-configuring segmentation of organs in CT and MR volumes. For research; not a medical device.

In Python, a trained model segments what the program holds; the mask comes back in the same form, on the same grid:

    model = autoseg.load_model("model.autoseg")
    mask = model.predict(SimpleITK.ReadImage("scan.nii.gz")).mask  # a SimpleITK image
    mask = model.predict(nibabel.load("scan.nii.gz")).mask  # a nibabel image with the same affine
    mask = model.predict(autoseg.array_image(array, spacing_mm=(5.0, 0.8, 0.8))).mask  # an array (Z, Y, X)
    prediction = model.predict("scan.nii.gz")  # or the folder of a DICOM series, or [one file a channel]
    autoseg.write_label("mask.nii.gz", prediction.mask)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg.version import VERSION

if TYPE_CHECKING:
    import numpy.typing as npt

    from autoseg.imaging.convert import ArrayImage
    from autoseg.imaging.volumes import Volume
    from autoseg.inference.model import Model

__version__ = VERSION


def load_model(model: str | Path, device: str = "auto") -> Model:
    """Load a model file, or all folds of a RUN as one ensemble.

    Args:
        model: A model file, or the folder of a RUN.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "mps".

    Raises:
        ModelError: If there is no model, or it is damaged.
        PlanError: If this machine has no such device.
    """
    from autoseg.inference.opening import open_model
    from autoseg.network.device import pick_device

    return open_model(Path(model), pick_device(device))


def read_image(*files: str | Path) -> Volume:
    """Read an image: one file, one file a channel, or the folder of a DICOM series.

    Raises:
        VolumeError: If it cannot be read or used.
    """
    from autoseg.imaging import volumes

    return volumes.read_image([Path(file) for file in files])


def array_image(
    array: npt.NDArray[Any],
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
) -> ArrayImage:
    """Return an image in memory for `Model.predict`, whose mask is then an array (Z, Y, X).

    Args:
        array: (Z, Y, X), or with channels (C, Z, Y, X); CT in HU.
        spacing_mm: Between voxel centres, (Z, Y, X).
        origin_mm: Centre of voxel (0, 0, 0), patient (x, y, z); x to the left, y to the back, z to the head (LPS).
        direction: 3x3, row-major; column j is where the j-th of the axes (X, Y, Z) points in the patient. By default
            the array's x runs to the patient's left, y to the back and z to the head.
    """
    from autoseg.imaging.convert import ArrayImage

    return ArrayImage(array=array, spacing_mm=spacing_mm, origin_mm=origin_mm, direction=direction)


def write_label(file: str | Path, label: Volume) -> None:
    """Write a label map, such as a prediction, on its image's own grid; the suffix picks the format.

    Raises:
        VolumeError: If it cannot be written.
    """
    from autoseg.imaging import volumes

    volumes.write_label(Path(file), label.array, label.stored)
