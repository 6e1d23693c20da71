"""A trained model in memory: its stages, and the prediction that they make for an image."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from autoseg.data.preprocess import plan_digest, working_image
from autoseg.errors import ModelError, PlanError
from autoseg.imaging.convert import Files, to_volume
from autoseg.imaging.grid import Grid, Voxels
from autoseg.imaging.resample import FloatArray
from autoseg.imaging.volumes import Volume
from autoseg.inference.cost import Stopwatch
from autoseg.inference.novelty import unlike_training
from autoseg.inference.organs import OrganPrediction, predicted_organs
from autoseg.inference.postprocess import apply_rules
from autoseg.inference.postprocessing_file import Postprocessing, joined, read_postprocessing
from autoseg.inference.stage import USUAL_OPTIONS, InferenceOptions, Stage
from autoseg.inference.upsample import Upsampler
from autoseg.labels import Atoms
from autoseg.network.device import DeviceName
from autoseg.network.unet import fold_norms
from autoseg.network.weights import MODEL, load_networks, model_files, read_facts
from autoseg.plan import Plan

logger = logging.getLogger(__name__)
MaskForm = TypeVar("MaskForm", covariant=True)  # a Volume, or what `imaging.convert` gives back
MASK_CODE = (  # what makes a mask
    "inference",
    "network",
    "imaging",
    "data/preprocess.py",
    "data/cache.py",
    "dataset/fingerprint.py",  # how an image differs from the training's
    "labels.py",
    "metrics/overlap.py",
    "plan.py",
    "planning/budget.py",  # how much of the memory tiles may take
)


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """An image as the networks see it."""

    images: tuple[FloatArray, ...]  # normalised, one a stage on its working grid, (C, Z, Y, X)
    grid: Grid  # of the image, LPS
    stored: Grid  # of the image, as in its file
    unlike: tuple[str, ...]  # sentences on how the image differs from the training's
    image_bytes: int  # of the image as it was read


@dataclass(frozen=True, kw_only=True)
class Prediction(Generic[MaskForm]):
    """The mask of an image, and what the model says about each organ in it."""

    mask: MaskForm  # label values on the image's own grid, in the form of the image
    organs: tuple[OrganPrediction, ...]
    unlike: tuple[str, ...]  # sentences on how the image differs from the training's
    probabilities: npt.NDArray[np.float16] | None = None  # (classes, Z, Y, X) on the working grid, where asked for


@dataclass(frozen=True, kw_only=True)
class Model:
    """The stages of a model, coarse to fine, and what was learnt for after them.

    Safe to use from one thread at a time; starts no processes and writes no files.
    """

    stages: tuple[Stage, ...]  # one so far
    trained_on: frozenset[str] = field(repr=False)  # case ids that at least one of them has learnt from
    postprocessing: Postprocessing = Postprocessing()  # noqa: RUF009 - frozen
    digest: str = ""  # of its files: another one is another model

    @property
    def plan(self) -> Plan:
        """The plan of the last stage, which decides on organs and masks."""
        return self.stages[-1].plan

    @property
    def runs(self) -> tuple[tuple[DeviceName, bool], ...]:
        """Where each stage runs, and whether in bfloat16: another way, other bits."""
        return tuple(stage.runs for stage in self.stages)

    @overload
    def predict(
        self, image: Volume | Files, options: InferenceOptions = ..., watch: Stopwatch | None = ...
    ) -> Prediction[Volume]: ...
    @overload
    def predict(
        self, image: object, options: InferenceOptions = ..., watch: Stopwatch | None = ...
    ) -> Prediction[Any]: ...
    def predict(
        self, image: object, options: InferenceOptions = USUAL_OPTIONS, watch: Stopwatch | None = None
    ) -> Prediction[Any]:
        """Segment an image of any kind; the mask is of the same kind and on the image's own grid.

        Args:
            image: A path, or one path a channel; a volume, as from `autoseg.read_image`; a SimpleITK or nibabel image;
                an array with its spacing, from `autoseg.array_image`. For a path the mask is a volume.
            options: How.
            watch: Gets the time of each phase.

        Raises:
            VolumeError: If the image cannot be read or used, or the number of channels is not the model's.
            TooLittleMemoryError: If not even the smallest tile fits.
            PlanError: If mirroring is asked for and the training did not mirror.
        """
        conversion = to_volume(image)
        for remark in conversion.volume.remarks:
            logger.warning("%s: %s", image if isinstance(image, str | Path) else "the image", remark.found)
        prediction = self.segment(self.prepare(conversion.volume, watch), options, watch)
        return replace(prediction, mask=conversion.mask_like(prediction.mask))

    def require_possible(self, options: InferenceOptions) -> None:
        """Refuse what the model cannot do.

        Raises:
            PlanError: If mirroring is asked for and the training did not mirror.
        """
        if options.mirrored and not self.plan.augmentation.mirrored:
            raise PlanError(
                "--mirror: the training mirrored no crops, so the network knows no mirrored images; leave it out, or "
                "plan with --set augmentation.mirrored"
            )

    def prepare(self, image: Volume, watch: Stopwatch | None = None) -> PreparedImage:
        """Bring an image (C, Z, Y, X) to the working grids; the image itself is then no longer needed.

        Raises:
            VolumeError: If the number of channels is not the model's.
        """
        with (watch or Stopwatch()).phase("resample"):
            fingerprint = self.postprocessing.fingerprint
            return PreparedImage(
                images=tuple(working_image(image, stage.plan) for stage in self.stages),
                grid=image.grid,
                stored=image.stored,
                unlike=tuple(unlike_training(image.grid, image.array, fingerprint)) if fingerprint else (),
                image_bytes=image.array.nbytes,
            )

    def segment(
        self, prepared: PreparedImage, options: InferenceOptions = USUAL_OPTIONS, watch: Stopwatch | None = None
    ) -> Prediction[Volume]:
        """Segment an image that was prepared; raises as `predict`."""
        self.require_possible(options)
        watch, grid = watch or Stopwatch(), prepared.grid
        upsampler = self.infer(prepared.images, grid.shape, options, watch)
        with watch.phase("clean-up"):
            if options.cleaned:
                apply_rules(upsampler.mask, self.postprocessing.cleanup, grid.spacing_mm, self.plan.scheme)
            organs = predicted_organs(upsampler, self.plan.scheme, grid, self.postprocessing)
        mask = Volume(array=self.plan.scheme.decode(upsampler.mask), grid=grid, stored=prepared.stored)
        return Prediction(mask=mask, organs=organs, unlike=prepared.unlike, probabilities=upsampler.probabilities())

    def infer(
        self,
        images: Sequence[npt.NDArray[np.floating]],
        full: Voxels,
        options: InferenceOptions = USUAL_OPTIONS,
        watch: Stopwatch | None = None,
        truth: Atoms | None = None,
    ) -> Upsampler:
        """Run the stages one after another; return the masks of atoms of the last, not cleaned.

        Args:
            images: Normalised, one a stage on its working grid, float (C, Z, Y, X).
            full: Voxels (Z, Y, X) of the image's own grid.
            options: As for `Stage.infer`.
            watch: As for `Stage.infer`.
            truth: As for `Stage.infer`.
        """
        pairs = zip(self.stages, images, strict=True)
        return [stage.infer(image, full, options, watch, truth) for stage, image in pairs][-1]

    def memory_gib(
        self, prepared: PreparedImage, options: InferenceOptions = USUAL_OPTIONS, beside_bytes: float = 0.0
    ) -> float:
        """Return the most memory that predicting an image takes on a CPU, in GiB, before the networks begin.

        Args:
            prepared: The image.
            options: How.
            beside_bytes: What is done meanwhile takes so much.
        """
        return max(
            stage.memory_gib(image, prepared.grid, prepared.image_bytes, options, beside_bytes)
            for stage, image in zip(self.stages, prepared.images, strict=True)
        )


def open_model(model: Path, device: DeviceName) -> Model:
    """Load a model file, or all folds of a RUN.

    An ensemble cleans up the organs that each of its folds would, by the first fold's rules; its line from certainty to
    Dice is the mean of theirs.

    Raises:
        ModelError: If there is no model, one is damaged, or the folds' plans differ in more than the device.
    """
    files = model_files(model)
    loaded = [load_networks(file, device) for file in files]
    plan = loaded[0][1]
    for _, other, _ in loaded[1:]:
        if (other.network, plan_digest(other)) != (plan.network, plan_digest(plan)):
            raise ModelError(f"{model}: its folds were trained under different plans; train them anew under one plan")
    networks = tuple(network for part, _, _ in loaded for network in part)
    for network in networks:
        fold_norms(network)
    digests = "".join(read_facts(file, MODEL).get("sha256", "") for file in files)
    return Model(
        stages=(Stage(networks=networks, plan=plan.model_copy(update={"device": device})),),
        trained_on=frozenset(str(case) for _, _, facts in loaded for case in facts.get("trained_on", ())),
        postprocessing=joined(
            [read_postprocessing(file, facts) for file, (_, _, facts) in zip(files, loaded, strict=True)]
        ),
        digest=hashlib.sha256(digests.encode()).hexdigest()[:16],
    )
