"""Tests of autoseg.network.device: which errors are a lack of memory, and what a CPU leaves alone."""

from __future__ import annotations

import warnings

import pytest
import torch

from autoseg.errors import DeviceError, PlanError, TooLittleMemoryError
from autoseg.network import device
from autoseg.network.device import Precision, autocast, fastest_convolutions, memory_explained, release_memory
from autoseg.network.distributed import require_devices


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_every_way_in_which_memory_runs_out_is_one_error_with_a_way_out(error: Exception) -> None:
    with (
        pytest.raises(TooLittleMemoryError, match="too little memory; take less") as found,
        memory_explained("take less"),
    ):
        raise error
    assert found.value.__cause__ is error


@pytest.mark.parametrize(("free_gib", "kind"), [(0.5, TooLittleMemoryError), (20.0, DeviceError)])
def test_a_convolution_that_cudnn_cannot_compute_is_a_lack_of_memory_only_where_memory_is_lacking(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, kind: type[Exception]
) -> None:
    monkeypatch.setattr(device, "free_gpu_gib", lambda _: free_gib)
    words = {TooLittleMemoryError: "too little memory; take less", DeviceError: "--set precision=float32"}
    with pytest.raises(kind, match=words[kind]), memory_explained("take less"):
        raise RuntimeError("FIND was unable to find an engine to execute this computation")


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("bfloat16", True)])
def test_float32_on_cuda_has_all_its_bits_forward_and_backward(precision: Precision, allowed: bool) -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    for context in (fastest_convolutions("cuda", precision), autocast("cuda", precision)):
        with warnings.catch_warnings(action="ignore"), context:  # that there is no GPU
            assert (cudnn.allow_tf32, matmul.allow_tf32) == (allowed, allowed)
        assert (cudnn.allow_tf32, matmul.allow_tf32) == before


def test_another_error_passes_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), memory_explained("take less"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_on_cuda_algorithms_are_tried_only_where_shapes_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    with fastest_convolutions("cpu"):
        assert not torch.backends.cudnn.benchmark
    limit = torch.backends.cudnn.benchmark_limit
    with fastest_convolutions("cuda"):
        assert torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.benchmark_limit == 0  # no limit
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark_limit == limit


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_devices("cuda", 2)
    require_devices("cpu", 9)
    require_devices("mps", 1)
    with pytest.raises(PlanError, match="3 processes on this machine, which has 2 GPUs: each needs one; start as many"):
        require_devices("cuda", 3)
    with pytest.raises(PlanError, match="--device mps: several processes cannot"):
        require_devices("mps", 2)


def test_a_cpu_has_nothing_to_give_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: pytest.fail("no GPU was asked for"))
    release_memory("cpu")
