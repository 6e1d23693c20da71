"""The budget: the device, its memory, and what a training step may take of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoseg.errors import PlanError
from autoseg.machine import GIB, free_memory_gib
from autoseg.network.device import DeviceName, free_gpu_gib, has_fast_bfloat16, pick_device
from autoseg.network.distributed import require_devices
from autoseg.network.memory import training_bytes
from autoseg.options import PlanOptions
from autoseg.plan import Plan
from autoseg.planning.rules import CPU_STEP_VOXELS, LARGEST_BATCH

GPU_SHARE = 0.9  # of the GPU's memory that training may take; the rest is for the libraries' scratch space and for
# what the allocator holds in pieces that nothing fits into: the one margin, as tensors are counted within 5 %
CPU_SHARE = 0.5  # of the free memory; the rest is for the augmentation processes and the user's other programs
TRAINING_HEAP = 1.6  # resident for a byte alive on a CPU, whose heap keeps what was freed; measured, docs/benchmarks.md
DISTURBING = 0.1  # of the processors' time that other programs take; on two cores it doubles an iteration's
TRAINING_PROCESS_GIB = {
    "cpu": 0.42,
    "cuda": 0.5,
    "mps": 0.5,
}  # Python and its libraries, measured; on a GPU CUDA's context


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The device, memory and processes that a training may use."""

    device: DeviceName
    memory_gib: float  # that is free on the GPU, or asked for; or that machine and cgroup leave free
    bfloat16: bool
    cpu_step_voxels: int = CPU_STEP_VOXELS  # crop voxels x batch that a step may have on a CPU
    cpu_batch: int = LARGEST_BATCH  # crops that it may have
    processes: int = 1  # that train together: each has a GPU, or all of them this CPU

    @property
    def step_voxels(self) -> int | None:
        """The most crop voxels x batch of a step; None: only the memory decides."""
        return self.cpu_step_voxels if self.device == "cpu" else None

    @property
    def step_gib(self) -> float:
        """The part of the memory that a training step may take."""
        return self.memory_gib * (CPU_SHARE if self.device == "cpu" else GPU_SHARE)


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """The measured cost of an iteration: time and memory."""

    seconds_per_iteration: float  # median, on CUDA mean, waiting for data included
    waiting_share: float  # of the time, for data
    others_share: float = 0.0  # of the processors' time, which other programs took meanwhile, where none were idle
    gib: float  # most memory: on a CPU of the training process, on a GPU what torch reserved, and CUDA's context

    @property
    def disturbed(self) -> bool:
        """Whether other programs slowed the measurement down."""
        return self.others_share >= DISTURBING


def share_of(plan: Plan, processes: int) -> Plan:
    """Return the plan with the batch that one of several processes computes."""
    return plan.model_copy(update={"batch_size": -(-plan.batch_size // processes)})


def batch_bytes(plan: Plan, processes: int) -> int:
    """Return the bytes of the batch that one of several processes computes: images in float32, and label maps."""
    of_voxel = 4 * len(plan.channels) + 1
    return share_of(plan, processes).batch_size * math.prod(plan.crop_size) * of_voxel


def step_gib(plan: Plan, budget: Budget) -> float:
    """Return the predicted memory of a training step in GiB: its tensors, and the process (CUDA's context) itself.

    Of several processes each has its share of the batch: on GPUs it is the memory of one of them, on a CPU of all.
    """
    bfloat16 = budget.bfloat16 if plan.precision == "auto" else plan.precision == "bfloat16"
    tensors = training_bytes(share_of(plan, budget.processes), bfloat16) / GIB
    if budget.device == "cpu":
        return budget.processes * (TRAINING_PROCESS_GIB["cpu"] + TRAINING_HEAP * tensors)
    return TRAINING_PROCESS_GIB[budget.device] + tensors


def detect_budget(device: DeviceName, gpu_memory_gib: float | None, free_gib: float, processes: int = 1) -> Budget:
    """Return the budget of a device.

    Args:
        device: Where training will run, unless `gpu_memory_gib` asks for a GPU.
        gpu_memory_gib: Memory of the GPU to plan for; None: what other programs leave of this machine's.
        free_gib: Free memory of this machine.
        processes: Processes that train together.

    Raises:
        PlanError: If the memory is not positive.
    """
    if gpu_memory_gib is not None:
        if not gpu_memory_gib > 0:
            raise PlanError(f"--gpu-memory {gpu_memory_gib:g}: must be positive, in GiB")
        return Budget(device="cuda", memory_gib=gpu_memory_gib, bfloat16=True, processes=processes)
    if device == "cuda":
        memory = free_gpu_gib("cuda") + TRAINING_PROCESS_GIB["cuda"]  # of which asking has made the context already
        return Budget(device="cuda", memory_gib=memory, bfloat16=has_fast_bfloat16("cuda"), processes=processes)
    return Budget(device=device, memory_gib=free_gib, bfloat16=has_fast_bfloat16(device), processes=processes)


def choose_budget(options: PlanOptions) -> tuple[Budget, bool]:
    """Return the budget to plan for, and whether it is this machine's.

    Raises:
        PlanError: If this machine has no such device, or too few of them.
    """
    device = pick_device("auto" if options.gpu_memory_gib is not None else options.device)
    is_local = options.gpu_memory_gib is None or device == "cuda"
    if options.gpu_memory_gib is None:
        if options.gpus > 1 and device != "cuda" and options.device == "auto":
            raise PlanError(
                f"--gpus {options.gpus}: there is no GPU here; give the memory of those to plan for by --gpu-memory "
                f"GIB, or train in {options.gpus} processes on the CPU by --device cpu"
            )
        require_devices(device, options.gpus)
    return detect_budget(device, options.gpu_memory_gib, free_memory_gib(), options.gpus), is_local
