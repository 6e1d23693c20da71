"""The plan: every decision about a run, as one frozen value that every later room reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from autoseg.errors import PlanError
from autoseg.json_file import JsonError, parse_json
from autoseg.labels import MOST_LABELS, Label, LabelScheme
from autoseg.words import shortened

CORRECT_FILE = "correct the file or run `autoseg plan` with --force"

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positives = tuple[Positive, Positive, Positive]
Counts = tuple[Count, Count, Count]


class PlanPart(BaseModel):
    """A part of the plan: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)
    only_if_set: ClassVar[frozenset[str]] = frozenset()  # keys that are written only where they are not the default

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        for key in self.only_if_set & values.keys():
            if values[key] == type(self).model_fields[key].default:
                del values[key]
        return values


class Intensity(PlanPart):
    """How one channel's intensities are brought to about zero mean and unit deviation.

    `ct`: clip to [low, high] HU, subtract `mean`, divide by `std` (statistics of the whole dataset's organs).
    `per-image`: clip to the image's own percentiles `low`, `high` (in percent), subtract its mean, divide by its
    standard deviation; `mean` and `std` are then 0 and 1.
    `probability`: that of an organ by the first stage, as it is.
    """

    kind: Literal["ct", "per-image", "probability"]
    low: float
    high: float
    mean: float = 0.0
    std: Positive = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self

    @property
    def pad_value(self) -> float:
        """Normalised intensity of what lies outside the image: air for CT, the mean for anything else."""
        return (self.low - self.mean) / self.std if self.kind == "ct" else 0.0


class Level(PlanPart):
    """One level of a network: the widths of its two convolutions, and the pooling that leads to it."""

    features: tuple[Count, Count]
    kernel: Counts = (3, 3, 3)
    pooling: Counts = (2, 2, 2)  # ignored on the first level

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if any(k % 2 == 0 for k in self.kernel):
            raise ValueError(f"kernel sizes must be odd, got {self.kernel}")
        return self


class NetworkPlan(PlanPart):
    """The network: levels from full resolution down.

    Every kind so far is described by these keys. One that needs others gets a class of its own with `kind` as a
    literal, and `Plan.network` becomes the union of both, told apart by `kind` (docs/decisions.md).
    """

    kind: str = "unet"  # one of network/build.py
    stages: Annotated[tuple[Level, ...], Field(min_length=2, max_length=8)]
    norm: Literal["batch", "instance", "group"] = "batch"
    activation: Literal["relu", "leaky-relu"] = "relu"
    up: Literal["keep", "skip"] = "keep"  # width after a transposed convolution: kept, or the skip's

    @property
    def divisor(self) -> tuple[int, int, int]:
        """What every input extent must be divisible by, (Z, Y, X): the product of the poolings."""
        z = y = x = 1
        for stage in self.stages[1:]:
            z, y, x = z * stage.pooling[0], y * stage.pooling[1], x * stage.pooling[2]
        return z, y, x


class AugmentationPlan(PlanPart):
    """Random changes of every training crop; 0 switches a change off."""

    only_if_set = frozenset({"deformed_share"})
    rotation_deg: Annotated[float, Field(ge=0, le=180)]  # uniform on each axis, in [-r, r]
    translation_voxels: Annotated[float, Field(ge=0)]  # uniform on each axis, in [-t, t]
    scaling: Annotated[float, Field(ge=0, lt=1)] = 0.0  # factor uniform in [1 - s, 1 + s]
    bspline_spacing_voxels: Positive = 24.0  # distance of the control points
    bspline_voxels: Annotated[float, Field(ge=0)]  # displacement of a control point, uniform in [-d, d]
    mirrored: tuple[Literal["z", "y", "x"], ...] = ()  # axes on which a crop is mirrored half of the time
    deformed_share: Share = 1.0  # share of the crops that are deformed and moved; the others keep their shape and place
    undeformed_end: Share = 0.0  # share of the iterations, the last, whose crops keep their shape and place
    brightness: Annotated[float, Field(ge=0)] = 0.0  # deviation of a Gaussian shift, in standard deviations
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0  # factor, uniform in [1 - c, 1 + c]
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0  # exponent, half of the time from [1 - g, 1], else from [1, 1 + g]
    noise: Annotated[float, Field(ge=0)] = 0.0  # deviation of Gaussian noise, uniform in [0, n]
    on: Literal["workers", "device"] = "workers"  # who makes the crops; the device: of what workers cut out and drew

    @property
    def is_spatial(self) -> bool:
        """Whether a crop is deformed or moved at all; else its voxels are the volume's own, mirrored at most."""
        return self.deformed_share > 0 and bool(
            self.rotation_deg or self.translation_voxels or self.scaling or self.bspline_voxels
        )

    @model_validator(mode="after")
    def _each_axis_once(self) -> Self:
        if len(set(self.mirrored)) != len(self.mirrored):
            raise ValueError(f"mirrored must name each axis once, got {list(self.mirrored)}")
        return self


class LossPlan(PlanPart):
    """The loss: which, and over what its sums run."""

    kind: str  # one of network/losses.py
    background: bool  # whether background is one of the Dice loss's classes
    over: Literal["image", "batch"]  # the sums run over each image, or over the whole batch
    # w_l by class, background first; None: all 1. What they weigh, the kind of loss says: in `dice` the Dice terms, in
    # `dice-ce` the voxels of the cross-entropy and no Dice term
    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    partial: bool = False  # whether some cases are labelled in part: background stands for what they do not show
    fade_weights: bool = False  # whether the weights go to 1 along a cosine over the training


class OptimiserPlan(PlanPart):
    """How the weights are moved."""

    name: Literal["adam", "adamw", "muon"]  # muon: for the kernels of convolutions, with adamw for all else
    schedule: Literal["constant", "cosine"]
    warmup_iterations: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip: Positive | None = None  # L2 norm of all gradients
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay of the running average of the weights; 0: none


class Plan(PlanPart):
    """Everything that is decided before training."""

    only_if_set = frozenset({"regions", "ignored", "flat_axis", "logit_scale", "region_parts", "finer", "margin_mm"})
    format: Literal[1] = 1
    preset: str | None = None
    name: str  # of the dataset
    channels: Annotated[tuple[str, ...], Field(min_length=1)]
    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=MOST_LABELS)]  # without background
    regions: tuple[tuple[int, ...], ...] | None = None  # values of the label maps within each label; None: its own
    ignored: int | None = None  # value of the label maps where the truth is not known; None: it is everywhere
    logit_scale: Positive | None = None  # of the outputs of regions, before the sigmoid; None: 1
    region_parts: bool = False  # whether outputs are the parts of regions, not the regions themselves
    downsampling: Positives  # (Z, Y, X)
    spacing_mm: Positives | None  # working grid (Z, Y, X); None: every image is divided by `downsampling`
    crop_size: Counts  # voxels of the working grid (Z, Y, X)
    flat_axis: Literal["z", "y", "x"] | None = None  # along which slices are seen one by one, and stay as they are
    batch_size: Count
    iterations: Count
    learning_rate: Positive
    seed: Annotated[int, Field(ge=0)] = 0
    organ_share: Share  # of crops centred on an organ's voxel, every organ of the case equally likely; the rest uniform
    device: Literal["cpu", "cuda", "mps"]
    precision: Literal["auto", "bfloat16", "float32"] = "auto"  # of the network; auto: bfloat16 where it is fast
    intensity: Annotated[tuple[Intensity, ...], Field(min_length=1)]  # one a channel
    network: NetworkPlan
    augmentation: AugmentationPlan
    loss: LossPlan
    optimiser: OptimiserPlan
    tile_depth: Count | None = None  # most voxels along Z of an inference tile; None: as many as the memory holds
    tile_overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5  # share of its depth that a tile shares with the next
    tile_weights: Literal["flat", "gaussian"] = "gaussian"  # of the voxels of a tile where several are averaged
    finer: Plan | None = None  # of a second stage, which looks again at some of the organs, in a box around them
    margin_mm: Positive | None = None  # of a second stage: the least that its box shows around the organs

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        divisor = self.network.divisor
        depth = () if self.tile_depth is None else (self.tile_depth,)
        sizes_of: dict[str, tuple[int, ...]] = {"crop_size": self.crop_size, "tile_depth": depth}
        for what, sizes in sizes_of.items():
            wrong = [n for n, d in zip(sizes, divisor, strict=False) if n % d]
            if wrong:
                near = tuple(max(d, round(n / d) * d) for n, d in zip(sizes, divisor, strict=False))
                got, best = (sizes, near) if len(near) > 1 else (sizes[0], near[0])
                raise ValueError(f"{what} {got} must be divisible by {divisor[: len(sizes)]}; nearest valid: {best}")
        if len(self.intensity) != len(self.channels):
            raise ValueError(f"intensity has {len(self.intensity)} entries for {len(self.channels)} channels")
        classes = self.scheme.classes
        if self.loss.weights is not None and len(self.loss.weights) != classes:
            raise ValueError(f"loss.weights has {len(self.loss.weights)} entries for {classes} classes")
        if self.finer is not None:
            self._require_second(self.finer)
        return self

    def _require_second(self, finer: Plan) -> None:
        if finer.finer is not None or finer.margin_mm is None or finer.flat_axis is not None:
            raise ValueError("finer must have margin_mm, no flat_axis, and no third stage")
        if self.scheme.overlapping or finer.scheme.overlapping or not set(finer.labels) <= set(self.labels):
            raise ValueError("finer must know some of the labels, and none of them may be a region")
        channels = (*self.channels, *(first_seen(label) for label in finer.labels))
        if finer.channels != channels or finer.ignored != self.ignored:
            raise ValueError(f"finer needs the channels {list(channels)}, and the same ignored value")

    @property
    def scheme(self) -> LabelScheme:
        """What the labels are in label maps, in the network, and in masks."""
        return LabelScheme(
            labels=self.labels,
            regions=self.regions,
            ignored=self.ignored,
            logit_scale=self.logit_scale,
            by_parts=self.region_parts,
        )

    @property
    def flat(self) -> int | None:
        """Number of the flat axis, of (Z, Y, X)."""
        return None if self.flat_axis is None else "zyx".index(self.flat_axis)

    @property
    def stages(self) -> tuple[Plan, ...]:
        """The plans of the stages, coarse to fine, each as if it stood alone; one, or two."""
        return (self,) if self.finer is None else (self.model_copy(update={"finer": None}), self.finer)

    @property
    def classes(self) -> int:
        """Number of classes: organs, and background where they are disjoint."""
        return self.scheme.classes


def first_seen(label: Label) -> str:
    """Return the name of the channel that shows a second stage where the first one sees an organ."""
    return f"{label.name} by the first stage"


def parse_plan(text: str, source: str, way_out: str = CORRECT_FILE) -> Plan:
    """Return the plan in `text` (JSON).

    Raises:
        PlanError: If it is not a valid plan; the text names `source`, each key, what was found and what is allowed.
    """
    try:
        parse_json(text, source, dict)
        return Plan.model_validate_json(text)
    except JsonError as error:
        raise PlanError(f"{str(error).rpartition('; ')[0]}; {way_out}") from error
    except ValidationError as error:
        raise PlanError(f"{source}: {in_one_line(error.errors())}; {way_out}") from error


def load_plan(file: Path) -> Plan:
    """Read a plan file.

    Raises:
        PlanError: If it is missing or not valid.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{file}: no readable plan ({error}); run `autoseg plan DATASET RUN` first") from error
    return parse_plan(text, str(file))


def in_one_line(errors: Iterable[Mapping[str, Any]]) -> str:
    """Return the errors of a plan's keys as a line: of each the key, what is allowed and what was found."""
    parts = []
    for item in errors:
        where = shortened(".".join(str(p) for p in item["loc"]).replace("\n", " ")) or "plan"
        message = item["msg"].removeprefix("Value error, ")
        got = "" if isinstance(item["input"], dict) else f", got {shortened(repr(item['input']))}"
        parts.append(f"{where}: {message[:1].lower() + message[1:]}{got}")
    return "; ".join(parts)
