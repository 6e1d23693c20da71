"""The GPU that is not there: tensors that hold no data are on `cuda`, and every operation on them is watched.

What is replaced is only what needs a driver. An operation on tensors of two devices raises, as on a GPU; what would
make the host wait for the device, the layouts, and the memory that is alive, are noted in a `Watch`.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

import autoseg

PACKAGE = f"{Path(autoseg.__file__).parent}/"
BLOCK = 512  # bytes; CUDA's allocator hands out multiples
SMALL_COPY = 2**16  # bytes; so much of pageable memory is on its way before the host goes on
BIG = 2**14  # voxels x batch; the layout of smaller tensors costs nothing
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal.default", "unique", "bincount", "repeat_interleave")
NO_LAUNCHES = ("aten.empty", "aten.new_empty", "aten.lift_fresh")


class Watch(TorchDispatchMode):
    """Notes what the operations on the device are, what the host waits for, and what memory is alive."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0  # bytes
        self.peak_at = ""
        self.operations: Counter[str] = Counter()  # that launch something
        self.waits: list[str] = []
        self.conversions: list[str] = []  # of layout or type, of big tensors
        self.convolved: set[str] = set()  # types and layouts of what convolutions give, where it is big
        self._sizes = WeakIdKeyDictionary()  # of storages on the device
        self._pinned = WeakIdKeyDictionary()  # storages of the host

    def begin(self) -> None:
        """Forget what has been noted, but not what is alive."""
        self.peak, self.operations = self.alive, Counter()
        self.waits, self.conversions, self.convolved = [], [], set()

    @property
    def launches(self) -> int:
        """The operations that the device was given."""
        return self.operations.total()

    def pin(self, tensor: Tensor) -> Tensor:
        """Note that a tensor of the host is pinned."""
        self._pinned[tensor.untyped_storage()] = True
        return tensor

    def is_pinned(self, tensor: Tensor) -> bool:
        """Return whether a tensor of the host is pinned."""
        return tensor.untyped_storage() in self._pinned

    def wait(self, name: str) -> None:
        """Note that the host waits, and which line of autoseg lets it."""
        self.waits.append(f"{name} in {_place()}")

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, str(func)
        if func.namespace != "aten":  # prim.device: where a tensor is
            return func(*args, **kwargs)
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        asked = kwargs.get("device") or torch.device("cpu")
        on_device = asked.type == "cuda" or any(t.device.type == "cuda" for t in given)
        if on_device and any(f"aten.{wait}" in name for wait in WAITS):
            self.wait(name)
        if "_local_scalar_dense" in name:  # there is no value; 0 lets the work go on
            return 0.0 if given[0].is_floating_point() else 0
        with self:  # in inference mode whole layers come here: what they consist of is looked at
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        _require_alike(name, args)
        out = func(*args, **kwargs)
        results = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if kwargs.get("pin_memory"):
            self.pin(out)
        for tensor in results:
            self._count(tensor, name)
        if on_device or any(t.device.type == "cuda" for t in results):
            self._note(func, name, given, results, args, kwargs)
        return out

    def _note(
        self, func: Any, name: str, given: list[Tensor], results: list[Tensor], args: Sequence[Any], kwargs: Any
    ) -> None:
        if name.startswith(("aten.copy_", "aten._to_copy", "aten.clone")):
            target, source = (given[0], given[1]) if name.startswith("aten.copy_") else (results[0], given[0])
            if target.device != source.device:
                waits = not (
                    kwargs.get("non_blocking") or (name.startswith("aten.copy_") and len(args) > 2 and args[2])
                )
                self._note_copy(name, target, source, waits)
            elif min(_voxels(target), _voxels(source)) >= BIG and _form(target) != _form(source):
                shape = "×".join(map(str, target.shape))
                self.conversions.append(f"{shape} {_form(source)} to {_form(target)} in {_place()}")
            self.operations[name] += 1
        elif name.startswith("aten.convolution"):
            self.operations[name] += 1
            self.convolved.update(_form(t) for t in results if _voxels(t) >= BIG)
        elif not (func.is_view or name.startswith(NO_LAUNCHES)):
            self.operations[name] += 1

    def _note_copy(self, name: str, target: Tensor, source: Tensor, waits: bool) -> None:
        host = source if source.device.type == "cpu" else target
        small = host is source and source.untyped_storage().nbytes() <= SMALL_COPY
        if waits or not (host.untyped_storage() in self._pinned or small):
            self.wait(f"{name} to {target.device.type}, {'blocking' if waits else 'not pinned'},")

    def _count(self, tensor: Tensor, name: str) -> None:
        storage = tensor.untyped_storage()
        if tensor.device.type != "cuda" or storage in self._sizes:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self._sizes[storage] = size
        self.alive += size
        if self.alive > self.peak:
            self.peak, self.peak_at = self.alive, name
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.alive -= size


def _require_alike(name: str, args: Sequence[Any]) -> None:
    """Hold the fused optimiser's arguments against what its kernel asks for, which has no check without a GPU."""
    if "_fused_adam" not in name:
        return
    for parameter, *others in zip(*args[:4], strict=True):
        for other in others:
            steps = zip(parameter.shape, parameter.stride(), other.stride(), strict=True)
            assert not any(own != its for size, own, its in steps if size > 1), (parameter.stride(), other.stride())
            assert (other.dtype, other.device) == (parameter.dtype, parameter.device)


def _voxels(tensor: Tensor) -> int:
    """Return the voxels of all images of a batch; 0 of what is no batch of volumes."""
    return tensor.numel() // max(1, tensor.shape[1]) if tensor.dim() == 5 else 0


def _form(tensor: Tensor) -> str:
    """Return type and layout; with a single channel there is only one layout."""
    last = tensor.shape[1] == 1 or tensor.stride(1) == 1
    layout = "channels last" if last else "channels first" if tensor.stride(4) == 1 else "in pieces"
    return f"{str(tensor.dtype).removeprefix('torch.')} {layout}"


def _place() -> str:
    """Return the line of autoseg that is being executed."""
    frame = sys._getframe()
    while frame.f_back is not None and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno}"


class Event:
    """A point in the device's work."""

    watch: Watch

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None: ...

    def record(self, stream: object = None) -> None:
        """Put it at the end of what the device has been given."""

    def query(self) -> bool:
        """Return whether the device has come to it."""
        return True

    def synchronize(self) -> None:
        """Wait for it."""
        self.watch.wait("Event.synchronize")

    def elapsed_time(self, other: Event) -> float:
        """Return the milliseconds to another one."""
        return 0.0


class Stream:
    """A queue of work; there is one device, and it does everything at once."""

    def __init__(self, device: object = None) -> None: ...

    def wait_stream(self, other: Stream) -> None:
        """Let it begin after what another one was given."""

    def wait_event(self, event: Event) -> None:
        """Let it begin after an event."""

    def record_event(self, event: Event | None = None) -> Event:
        """Return a point at the end of what it was given."""
        return event or Event()


class Graph:
    """Operations that were recorded."""

    def replay(self) -> None:
        """Launch them by one call."""
        Event.watch.operations["CUDAGraph.replay"] += 1

    def reset(self) -> None:
        """Forget them."""


@contextlib.contextmanager
def _capturing(graph: Graph, stream: Stream, capture_error_mode: str) -> Iterator[None]:
    """Record what the block launches; the host may not wait in it."""
    before = len(Event.watch.waits)
    yield
    if Event.watch.waits[before:]:
        raise RuntimeError("operation not permitted when stream is capturing")


def _moved(module: torch.nn.Module, *how: Any, **named: Any) -> torch.nn.Module:
    """Do as nn.Module.to does, which cannot replace parameters without data (torch 2.13)."""
    device, dtype, _, layout = torch._C._nn._parse_to(*how, **named)
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                formed = {} if layout is None or tensor.dim() not in (4, 5) else {"memory_format": layout}
                kind = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
                new = torch.empty(tensor.shape, dtype=kind, device=device or tensor.device, **formed)
                is_parameter = tensors is part._parameters
                tensors[name] = torch.nn.Parameter(new, tensor.requires_grad) if is_parameter else new
    return module


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    if tensor.device.type != "cpu":
        raise TypeError(f"a tensor on {tensor.device} cannot be an array")
    return np.zeros(tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))


_META = torch.library.Library("aten", "IMPL", "Meta")
for _name in ("_fused_adam_", "_fused_adamw_"):  # torch has none that say what they return: nothing
    _META.impl(f"{_name}.tensor_lr", lambda *args, **kwargs: None)


@contextlib.contextmanager
def fake_cuda(memory_gib: float = 80.0) -> Iterator[Watch]:
    """Be on a machine with one GPU; tensors that come into being hold no data."""
    watch = Watch()
    Event.watch = watch
    total = int(memory_gib * 2**30)
    from_torch = (
        torch.cuda,
        {
            "Event": Event,
            "Stream": Stream,
            "stream": contextlib.nullcontext,
            "current_stream": Stream,
            "set_stream": lambda stream: None,
            "CUDAGraph": Graph,
            "graph": _capturing,
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "current_device": lambda: 0,
            "device_count": lambda: 1,
            "is_bf16_supported": lambda including_emulation=True: True,
            "get_device_name": lambda device=None: "no GPU",
            "mem_get_info": lambda device=None: (total - watch.alive, total),
            "memory_allocated": lambda device=None: watch.alive,
            "memory_reserved": lambda device=None: watch.alive,
            "max_memory_allocated": lambda device=None: watch.peak,
            "max_memory_reserved": lambda device=None: watch.peak,
            "empty_cache": lambda: None,
            "synchronize": lambda device=None: watch.wait("torch.cuda.synchronize"),
        },
    )
    tensors = (
        Tensor,
        {
            "pin_memory": lambda tensor, device=None: watch.pin(tensor.clone()),
            "is_pinned": lambda tensor, device=None: watch.is_pinned(tensor),
            "numpy": _array,
            "tolist": lambda tensor: _array(tensor).tolist(),
        },
    )
    modes = FakeTensorMode, {"__deepcopy__": lambda mode, memo: mode}  # a copied network stays with its tensors
    others = [(torch.nn.Module, {"to": _moved}), (fake_tensor, {"init_gpu_context": lambda device: None})]
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        for target, replaced in (from_torch, tensors, modes, *others):
            for name, value in replaced.items():
                stack.enter_context(mock.patch.object(target, name, value, create=True))
        stack.enter_context(
            mock.patch.object(torch.cuda.amp.common, "amp_definitely_not_available", return_value=False)
        )
        stack.enter_context(mock.patch.object(torch, "from_numpy", _without_data))
        stack.enter_context(mock.patch.object(_foreach_utils, "_foreach_supported_types", [Tensor, FakeTensor]))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(watch)
        yield watch


def _without_data(array: npt.NDArray[Any]) -> Tensor:
    kind = getattr(torch, array.dtype.name)
    return torch.empty_strided(array.shape, [step // array.itemsize for step in array.strides], dtype=kind)
