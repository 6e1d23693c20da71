"""A model as ONNX, for programs without PyTorch: from the normalised image on the working grid to probabilities.

The only door to onnx and onnxruntime. The file's metadata hold the plan (intensities, spacing, padding, tiles) and the
card: what a program needs to bring an image to the network and its answer back.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autoseg.errors import ModelError
from autoseg.files import atomic_path
from autoseg.imaging.grid import Voxels
from autoseg.inference.model import Model
from autoseg.inference.stage import Stage
from autoseg.labels import IN_REGION, LabelScheme
from autoseg.network.outputs import activate, of_classes
from autoseg.plan import Plan
from autoseg.words import counted

SUFFIX = ".onnx"
OPSET = 18
NO_PACKAGE = "the packages onnx and onnxruntime are not installed; run pip install onnx onnxruntime"
SURE = 1e-4  # classes whose probabilities differ by less are as good as each other
SEED = 0
PLAN_KEY = "autoseg_plan"  # in the metadata


class Probabilities(nn.Module):
    """The mean probabilities of several networks of one scheme."""

    def __init__(self, networks: Sequence[nn.Module], scheme: LabelScheme) -> None:
        """Take the networks, in evaluation mode."""
        super().__init__()
        self.networks, self.scheme = nn.ModuleList(networks), scheme

    def forward(self, image: Tensor) -> Tensor:
        """Return probabilities (B, classes, Z, Y, X) of an image (B, C, Z, Y, X)."""
        each = torch.stack([activate(self.scheme, network(image), dim=1) for network in self.networks])
        return of_classes(self.scheme, each.mean(dim=0), dim=1)


def write_onnx(model: Model, file: Path, card: str) -> tuple[Path, ...]:
    """Write a model as ONNX and check that onnxruntime gives the same masks, on two sizes of volumes.

    Of two stages the second goes to a file of its own, as in model_second.onnx; both are put in place when both are
    right. Beside one stage the second of an earlier model is removed. Input `image`, float32 (B, C, Z, Y, X),
    normalised, each extent divisible by the network's divisor; output `probabilities`, float32 (B, classes, Z, Y, X).

    Args:
        model: On the CPU.
        file: Where.
        card: What the model is, in words.

    Returns:
        The files, one a stage.

    Raises:
        ModelError: If a package is missing, or the masks differ.
        OSError: If the disk is full.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ModelError(f"{file}: {NO_PACKAGE}") from error
    second = file.with_name(f"{file.stem}_second{file.suffix}")
    files = (file, second)[: len(model.stages)]
    with ExitStack() as both:
        for stage, its_file in zip(model.stages, files, strict=True):
            _write_stage(stage, both.enter_context(atomic_path(its_file)), its_file, card)
    if second not in files and _is_second_stage(second):
        second.unlink()
    return files


def _is_second_stage(file: Path) -> bool:
    """Return whether a file is there that holds a second stage: another model may have its name."""
    import onnx

    try:
        properties = onnx.load(str(file), load_external_data=False).metadata_props
    except Exception:  # noqa: BLE001 - what cannot be read as ONNX is no stage; onnx has no error of its own for that
        return False
    plans = [json.loads(one.value) for one in properties if one.key == PLAN_KEY]
    return any(plan.get("margin_mm") is not None for plan in plans)


def _write_stage(stage: Stage, beside: Path, file: Path, card: str) -> None:
    """Write a stage beside the file that it is for, and check it."""
    import onnx

    network = Probabilities(stage.networks, stage.plan.scheme).eval()
    divisor = stage.plan.network.divisor
    example = torch.zeros((1, len(stage.plan.channels), *(4 * d for d in divisor)))
    axes = {0: "batch", 2: "z", 3: "y", 4: "x"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            network,
            (example,),
            str(beside),
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_axes={"image": axes, "probabilities": axes},
            opset_version=OPSET,
            dynamo=False,
        )
    exported = onnx.load(str(beside))
    for key, value in ((PLAN_KEY, stage.plan.model_dump_json()), ("autoseg_card", card)):
        exported.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(exported)
    onnx.save(exported, str(beside))
    _require_parity(network, beside, file, [(2, 3, 4), (5, 2, 3)], stage.plan)


def _require_parity(network: nn.Module, written: Path, file: Path, sizes: Sequence[Voxels], plan: Plan) -> None:
    """Raise ModelError unless onnxruntime finds the same classes as PyTorch in float32."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(SEED)
    for size in sizes:
        extent = tuple(n * d for n, d in zip(size, plan.network.divisor, strict=True))
        image = generator.normal(size=(1, len(plan.channels), *extent)).astype(np.float32)
        with torch.no_grad():
            ours = network(torch.from_numpy(image)).numpy()
        (theirs,) = session.run(None, {"image": image})
        apart = _voxels_apart(ours[0], theirs[0], plan.scheme)
        if apart:
            raise ModelError(
                f"{file}: in onnxruntime the class differs in {counted(apart, 'voxel')} of a random volume; not written"
            )


def _voxels_apart(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32], scheme: LabelScheme) -> int:
    """Return how many voxels have another class (classes, Z, Y, X), where ours is not a tie."""
    mask, other = (scheme.decide(torch.from_numpy(probabilities)).numpy() for probabilities in (ours, theirs))
    if scheme.overlapping:
        return int(np.count_nonzero((mask != other) & (np.abs(ours - IN_REGION) > SURE).all(axis=0)))
    second, first = np.sort(ours, axis=0)[-2:]
    return int(np.count_nonzero((mask != other) & (first - second > SURE)))
