"""The networks by name: builds the one of a plan, and refuses a plan whose network or loss is unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from autoseg.errors import PlanError
from autoseg.labels import LabelScheme
from autoseg.network.losses import LOSSES
from autoseg.network.outputs import output_channels
from autoseg.network.residual import residual_unet
from autoseg.network.unet import UNet3D
from autoseg.plan import CORRECT_FILE, NetworkPlan, Plan
from autoseg.run import Run


@dataclass(frozen=True, kw_only=True)
class Network:
    """A kind of network."""

    build: Callable[[int, int, NetworkPlan], UNet3D]  # of input channels, outputs, and the plan
    name: str  # in plan.md


NETWORKS: dict[str, Network] = {  # by the plan's network.kind
    "unet": Network(build=UNet3D, name="3D U-Net"),
    "residual": Network(build=residual_unet, name="Residual-encoder 3D U-Net"),
}


def build(plan: Plan) -> nn.Module:
    """Return the plan's network: from images (B, C, Z, Y, X) to logits (B, outputs, Z, Y, X)."""
    return build_network(plan.network, len(plan.channels), plan.scheme)


def build_network(plan: NetworkPlan, channels: int, scheme: LabelScheme) -> nn.Module:
    """Return a network for images of so many channels, with the outputs that a scheme needs."""
    return NETWORKS[plan.kind].build(channels, output_channels(scheme), plan)


def require_known(plan: Plan, source: str, way_out: str = CORRECT_FILE) -> Plan:
    """Return a plan whose loss and network are known; a plan's own check cannot know, as plans are read without torch.

    Raises:
        PlanError: If one is not; the text names `source`, the key, the known kinds and what was found.
    """
    kinds: dict[str, tuple[str, Mapping[str, object]]] = {
        "loss.kind": (plan.loss.kind, LOSSES),
        "network.kind": (plan.network.kind, NETWORKS),
    }
    for key, (kind, registry) in kinds.items():
        if kind not in registry:
            names = " or ".join(map(repr, registry))
            raise PlanError(f"{source}: {key}: input should be {names}, got {kind!r}; {way_out}")
    if plan.finer is not None:
        require_known(plan.finer, f"{source}: finer", way_out)
    return plan


def plan_of(run: Run) -> Plan:
    """Read the plan of a RUN, which may be edited.

    Raises:
        RunError: If the folder is not a RUN.
        PlanError: If the plan is not valid, or its loss or network is not known.
    """
    return require_known(run.plan(), str(run.plan_file))
