"""A process that does what a GPU would be asked for, on tensors that hold no data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from cuda.process import call, compile_guard, start


@pytest.fixture(scope="session")
def on_cuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Calls a function of an importable module in that process, and returns its result."""
    if torch.version.cuda is not None:
        pytest.skip("needs torch built for CPUs: this one looks for a GPU itself")
    library = compile_guard(tmp_path_factory.mktemp("cuda"))
    if isinstance(library, str):
        pytest.skip(library)
    with start(library) as process:
        yield lambda function, *values, **named: process.submit(call, function, *values, **named).result(timeout=300)
