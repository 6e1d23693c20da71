"""Where the network runs and in which precision."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from autoseg.errors import DeviceError, PlanError, TooLittleMemoryError
from autoseg.machine import set_default_variable

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
# what torch says in a plain RuntimeError when memory is lacking, on a CPU and on CUDA
_NO_MEMORY = ("allocate memory", "out of memory", "ALLOC_FAILED")
_NO_ENGINE = "unable to find an engine"  # cuDNN has no algorithm, or none whose scratch space is to be had
_ENGINE_GIB = 1.0  # free memory with which it was not the scratch space that lacked
DeviceName = Literal["cpu", "cuda", "mps"]
Precision = Literal["auto", "bfloat16", "float32"]


def pick_device(name: str) -> DeviceName:
    """Return the device to use.

    Args:
        name: "auto" (a GPU where there is one), "cpu", "cuda" or "mps".

    Raises:
        PlanError: If the device is unknown or this machine has none.
    """
    available: dict[str, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(candidate for candidate, usable in available.items() if usable)
    if not available.get(name, False):
        names = ", ".join(candidate for candidate, usable in available.items() if usable)
        raise PlanError(f"--device {name}: this machine has no such device; it has: {names}")
    return name  # type: ignore[return-value]


def accelerator_name(device: str) -> str:
    """Return what the GPU of a device is called; "" for a CPU, or where this machine has no such GPU."""
    return torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else ""


def has_fast_bfloat16(device: DeviceName) -> bool:
    """Return whether bfloat16 autocast pays: CUDA from Ampere on, CPUs with AVX512_BF16 or AMX."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in checks)
    return False


def runs_bfloat16(device: DeviceName, precision: Precision) -> bool:
    """Return whether the network runs in bfloat16; "auto": where it pays."""
    return has_fast_bfloat16(device) if precision == "auto" else precision == "bfloat16"


@contextmanager
def autocast(device: DeviceName, precision: Precision) -> Iterator[None]:
    """Run the network under this autocast: bfloat16 or float32."""
    enabled = runs_bfloat16(device, precision)
    # every weight is used once in a pass, and no cache may reach from a CUDA graph into what comes after it
    cast = torch.autocast(device, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)
    with float32_as_stated(device, precision), cast:
        yield


@contextmanager
def float32_as_stated(device: DeviceName, precision: Precision) -> Iterator[None]:
    """Let CUDA multiply with all bits where the plan says float32; else it may use TF32, which has 10 of 23 bits."""
    if device != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    try:
        cudnn.allow_tf32 = matmul.allow_tf32 = precision != "float32"
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


@contextmanager
def memory_explained(way_out: str) -> Iterator[None]:
    """Turn an out-of-memory of the device into an error that says the way out; any other error passes.

    Raises:
        TooLittleMemoryError: If the device or the machine has too little memory.
        DeviceError: If cuDNN cannot compute the network, though there is memory.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise TooLittleMemoryError(f"there is too little memory; {way_out}") from error
    except RuntimeError as error:
        if _NO_ENGINE in str(error):
            raise _no_engine(way_out) from error
        if not any(words in str(error) for words in _NO_MEMORY):
            raise
        raise TooLittleMemoryError(f"there is too little memory; {way_out}") from error


def _no_engine(way_out: str) -> TooLittleMemoryError | DeviceError:
    if free_gpu_gib("cuda") < _ENGINE_GIB:
        return TooLittleMemoryError(f"there is too little memory; {way_out}")
    return DeviceError(
        "cuDNN cannot compute a convolution of this network on "
        f"{accelerator_name('cuda') or 'this GPU'}; install another version of PyTorch, plan with --set "
        "precision=float32, or use --device cpu"
    )


def free_gpu_gib(device: DeviceName) -> float:
    """Return the memory that a GPU has free, in GiB; what PyTorch keeps for itself counts as free."""
    if device == "mps":
        return float(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()) / 2**30
    reserved = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return float(torch.cuda.mem_get_info()[0] + reserved) / 2**30


def keep_freed_memory() -> None:
    """Let a training process reuse the memory of freed tensors instead of giving it back to the system.

    Getting it back costs a page fault for every 4 KiB: a training step on a CPU takes 8 to 34 % less time without
    (docs/experiments.md). Prediction does without: it gains less, and memory in pieces would be up to half as much
    again as what was counted. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def repeat_exactly() -> None:
    """Let CUDA choose only operations that give the same bits every time; CPUs do so anyway."""
    set_default_variable("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for; read when CUDA starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    # every tensor is written before it is read
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def fastest_convolutions(device: DeviceName, precision: Precision = "auto") -> Iterator[None]:
    """Let cuDNN try which algorithm is the fastest for each shape: pays where the same shapes come again and again.

    Backward passes, which autocast does not enclose, multiply as the plan's precision says.
    """
    if device != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.benchmark_limit
    cudnn.benchmark, cudnn.benchmark_limit = not torch.are_deterministic_algorithms_enabled(), 0  # all of them, not ten
    try:
        with float32_as_stated(device, precision):
            yield
    finally:
        cudnn.benchmark, cudnn.benchmark_limit = before


def release_memory(device: DeviceName) -> None:
    """Give back what is kept of freed GPU memory, so that another process can have it."""
    if device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def place(network: nn.Module, device: DeviceName) -> nn.Module:
    """Move a network to its device, channels last in memory (on CPUs this halves the step together with bfloat16)."""
    if device == "mps":
        return network.to(device)
    return network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device; CUDA's is not waited for, which takes pinned memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
