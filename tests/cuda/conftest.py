"""A process that does what a GPU would be asked for, on tensors that hold no data."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from cuda.process import call, compile_guard, start


@pytest.fixture(scope="session")
def on_cuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Calls a function of an importable module in that process, or knows its result from before, and returns it."""
    if torch.version.cuda is not None:
        pytest.skip("needs torch built for CPUs: this one looks for a GPU itself")
    library = compile_guard(tmp_path_factory.mktemp("cuda"))
    if isinstance(library, str):
        pytest.skip(library)
    known: dict[bytes, Any] = {}
    with start(library) as process:

        def ask(function: Callable[..., Any], *values: Any, **named: Any) -> Any:
            asked = pickle.dumps((function, values, named))
            if asked not in known:
                known[asked] = process.submit(call, function, *values, **named).result(timeout=300)
            return known[asked]

        yield ask
