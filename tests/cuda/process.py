"""A process in which torch believes in a GPU: the library that it needs, compiled, and loaded before torch."""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import multiprocessing
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("device_guard.cpp")


def compile_guard(folder: Path) -> Path | str:
    """Return the library, or why there is none here."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if sys.platform != "linux" or compiler is None:
        return "needs Linux and a C++ compiler"
    library, torch = folder / "device_guard.so", _torch_folder()
    includes = [f"-I{torch / 'include' / part}" for part in ("", "torch/csrc/api/include")]
    links = [f"-L{torch / 'lib'}", "-lc10", "-ltorch_cpu"]
    command = [compiler, "-std=c++20", "-O1", "-w", "-fPIC", "-shared", *includes, str(SOURCE), *links]
    done = subprocess.run([*command, "-o", str(library)], capture_output=True, text=True)
    return library if done.returncode == 0 else f"torch's C++ interface is another one: {done.stderr[-1000:]}"


def start(library: Path) -> ProcessPoolExecutor:
    """Return a process of its own that calls what it is given, with the library loaded before torch."""
    fresh = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=fresh, initializer=load_guard, initargs=(library,))


def call(function: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """Call a function in that process; what it raises may not be fit to travel, its text is."""
    try:
        return function(*values, **named)
    except Exception:  # noqa: BLE001
        raise RuntimeError(traceback.format_exc()) from None


def load_guard(library: Path) -> None:
    """Register the guard and the hooks; torch asks for them once, when it is imported."""
    if "torch" in sys.modules:
        raise RuntimeError("torch is imported already")
    folder = _torch_folder() / "lib"
    for file in (folder / "libc10.so", folder / "libtorch_cpu.so", library):
        ctypes.CDLL(str(file), ctypes.RTLD_GLOBAL)
    importlib.import_module("cuda.work")
    gc.collect()
    gc.freeze()  # each release of memory collects, and need not look through all that has been imported


def _torch_folder() -> Path:
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent
