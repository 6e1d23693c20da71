"""A trained model in memory: its stages, and the prediction that they make for an image."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from autoseg.data.preprocess import working_image
from autoseg.errors import PlanError
from autoseg.imaging.convert import Files, to_volume
from autoseg.imaging.grid import Grid, Voxels
from autoseg.imaging.resample import FloatArray
from autoseg.imaging.volumes import Volume
from autoseg.inference.cost import FIRST_STAGE_GIB, PROBABILITY_BYTES, Stopwatch
from autoseg.inference.novelty import unlike_training
from autoseg.inference.organs import OrganPrediction, predicted_organs
from autoseg.inference.postprocess import apply_rules
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.inference.second_percent import BoxPercent
from autoseg.inference.second_stage import Original, look_again
from autoseg.inference.stage import USUAL_OPTIONS, InferenceOptions, Stage
from autoseg.inference.upsample import Upsampler
from autoseg.labels import Atoms
from autoseg.machine import GIB
from autoseg.network.device import DeviceName
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

    image: FloatArray  # normalised, on the working grid of the first stage, (C, Z, Y, X)
    grid: Grid  # of the image, LPS
    stored: Grid  # of the image, as in its file
    unlike: tuple[str, ...]  # sentences on how the image differs from the training's
    image_bytes: int  # of the image as it was read
    original: Volume | None = None  # as it was read, where a second stage will look at it


@dataclass(frozen=True, kw_only=True)
class Prediction(Generic[MaskForm]):
    """The mask of an image, and what the model says about each organ in it."""

    mask: MaskForm  # label values on the image's own grid, in the form of the image
    organs: tuple[OrganPrediction, ...]
    unlike: tuple[str, ...]  # sentences on how the image differs from the training's
    probabilities: npt.NDArray[np.float16] | None = None  # (classes, Z, Y, X) on the working grid, where asked for
    looked: tuple[BoxPercent, ...] = ()  # of two stages: the probabilities that replace these in the second one's boxes
    notes: tuple[str, ...] = ()  # sentences on how a second stage has looked


@dataclass(frozen=True, kw_only=True)
class Model:
    """The stages of a model, coarse to fine, and what was learnt for after them.

    Safe to use from one thread at a time; starts no processes and writes no files.
    """

    stages: tuple[Stage, ...]  # one or two
    trained_on: frozenset[str] = field(repr=False)  # case ids that at least one of them has learnt from
    postprocessing: Postprocessing = Postprocessing()  # noqa: RUF009 - frozen
    digest: str = ""  # of its files: another one is another model
    later_digest: str = ""  # of the files of its second stage alone

    @property
    def plan(self) -> Plan:
        """The plan of the first stage, which knows all organs."""
        return self.stages[0].plan

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
        """Bring an image (C, Z, Y, X) to the working grid; with one stage the image itself is then no longer needed.

        Raises:
            VolumeError: If the number of channels is not the model's.
        """
        with (watch or Stopwatch()).phase("resample"):
            fingerprint = self.postprocessing.fingerprint
            return PreparedImage(
                image=working_image(image, self.plan),
                grid=image.grid,
                stored=image.stored,
                unlike=tuple(unlike_training(image.grid, image.array, fingerprint)) if fingerprint else (),
                image_bytes=image.array.nbytes,
                original=image if len(self.stages) > 1 else None,
            )

    def segment(
        self, prepared: PreparedImage, options: InferenceOptions = USUAL_OPTIONS, watch: Stopwatch | None = None
    ) -> Prediction[Volume]:
        """Segment an image that was prepared; raises as `predict`."""
        self.require_possible(options)
        watch, grid = watch or Stopwatch(), prepared.grid
        volume = prepared.original
        original = None if volume is None else Original(read=lambda: volume)
        upsampler = self.infer(prepared.image, grid.shape, options, watch, original=original)
        with watch.phase("clean-up"):
            if options.cleaned:
                apply_rules(
                    upsampler.mask, self.postprocessing.cleanup, grid.spacing_mm, self.plan.scheme, self.plan.flat
                )
            organs = predicted_organs(upsampler, self.plan.scheme, grid, self.postprocessing)
        mask = Volume(array=self.plan.scheme.decode(upsampler.mask), grid=grid, stored=prepared.stored)
        probabilities = upsampler.probabilities() if options.probabilities else None
        unlike = (*prepared.unlike, *upsampler.remarks)
        return Prediction(
            mask=mask, organs=organs, unlike=unlike, probabilities=probabilities, looked=upsampler.looked,
            notes=upsampler.notes,
        )  # fmt: skip

    def infer(
        self,
        image: npt.NDArray[np.floating],
        full: Voxels,
        options: InferenceOptions = USUAL_OPTIONS,
        watch: Stopwatch | None = None,
        truth: Atoms | None = None,
        original: Original | None = None,
    ) -> Upsampler:
        """Run the stages one after another; return the masks of atoms, not cleaned.

        Args:
            image: Normalised, on the working grid of the first stage, float (C, Z, Y, X).
            full: Voxels (Z, Y, X) of the image's own grid.
            options: As for `Stage.infer`.
            watch: As for `Stage.infer`.
            truth: As for `Stage.infer`.
            original: The image on its own grid; without it a second stage does not look.
        """
        first, *later = self.stages
        if not later or original is None:
            return first.infer(image, full, options, watch, truth)
        watch = watch or Stopwatch()
        before = tuple(watch.by_stage) or (0.0, 0.0)
        with watch.stage(0):
            upsampler = first.infer(image, full, replace(options, probabilities=True), watch, truth)
        with watch.stage(1):
            upsampler = look_again(first, later[0], upsampler, original, options, watch)
        upsampler.stage_seconds = tuple(now - then for now, then in zip(watch.by_stage, before, strict=True))
        return upsampler

    def memory_gib(
        self, prepared: PreparedImage, options: InferenceOptions = USUAL_OPTIONS, beside_bytes: float = 0.0
    ) -> float:
        """Return the most memory that predicting an image takes on a CPU, in GiB, before the networks begin.

        Args:
            prepared: The image.
            options: How.
            beside_bytes: What is done meanwhile takes so much.
        """
        grid, image_bytes = prepared.grid, prepared.image_bytes
        first, *later = self.stages
        if not later:
            return first.memory_gib(prepared.image, grid, image_bytes, options, beside_bytes)
        keeping = replace(options, probabilities=True)  # the second stage sees those of the first
        first_gib = first.memory_gib(prepared.image, grid, image_bytes, keeping, beside_bytes + image_bytes)
        working, organs = prepared.image[0].size, max(len(stage.plan.labels) for stage in later)
        kept = (
            PROBABILITY_BYTES * first.plan.classes + 4.0 * organs
        ) * working  # all, and those of its organs in float32
        percent = first.plan.classes if options.probabilities else 0  # of all classes, in the boxes
        kept += prepared.image.nbytes + (2.0 + percent) * math.prod(grid.shape)  # two masks of the first stage
        beside_bytes += image_bytes + kept + FIRST_STAGE_GIB * GIB
        return max(first_gib, *(stage.whole_memory_gib(grid, image_bytes, beside_bytes, options) for stage in later))
