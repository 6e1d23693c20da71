"""autoseg: self-configuring segmentation of organs in CT and MR volumes. For research; not a medical device.

In Python, a trained model segments volumes in memory:

    image = autoseg.read_image(Path("scan.nii.gz"))
    prediction = autoseg.load_model(Path("model.autoseg")).predict(image)
    autoseg.write_label(Path("mask.nii.gz"), prediction.mask)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.version import VERSION

if TYPE_CHECKING:
    from autoseg.imaging.volumes import Volume
    from autoseg.inference.model import Model

__version__ = VERSION


def load_model(model: Path, device: str = "auto") -> Model:
    """Load a model file, or all folds of a RUN as one ensemble.

    Args:
        model: A model file or a RUN.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "mps".

    Raises:
        ModelError: If there is no model, or it is damaged.
        PlanError: If this machine has no such device.
    """
    from autoseg.inference.model import open_model
    from autoseg.network.device import pick_device

    return open_model(model, pick_device(device))


def read_image(*files: Path) -> Volume:
    """Read an image: one file, one file a channel, or the folder of a DICOM series.

    Raises:
        VolumeError: If it cannot be read or used.
    """
    from autoseg.imaging import volumes

    return volumes.read_image(files)


def write_label(file: Path, label: Volume) -> None:
    """Write a label map, such as a prediction, on its image's own grid; the suffix picks the format.

    Raises:
        VolumeError: If it cannot be written.
    """
    from autoseg.imaging import volumes

    volumes.write_label(file, label.array, label.stored)
