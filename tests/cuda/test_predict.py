"""Tests of examinations and of prediction on a GPU that is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cuda import work
from cuda.plans import plan_with

from autoseg.inference.tiles import Tiling

TILING = Tiling(tile=(32, 32, 32), overlap=0.5)
Call = Callable[..., Any]


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_host_waits_for_a_tile_only_when_it_goes_there_and_when_it_comes_back(
    on_cuda: Call, norm: str, precision: str
) -> None:
    plan = plan_with(norm, precision=precision)
    waits = on_cuda(work.tiles, plan, TILING, (32, 32, 32)).waits
    assert ["cuda" in line for line in waits] == [True, False]


def test_several_networks_and_mirrors_come_back_as_one(on_cuda: Call) -> None:
    plan = plan_with()
    waits = on_cuda(work.tiles, plan, TILING, (48, 32, 32), networks=2, mirrors=((), (1,))).waits
    back = [line for line in waits if "to cpu" in line]
    assert len(back) == 2  # tiles


def test_an_examination_waits_for_tiles_only(on_cuda: Call, tmp_path: Path) -> None:
    waits = on_cuda(work.examination, plan_with(), tmp_path, (32, 32, 32)).waits
    assert {line.partition(" in ")[2].partition(":")[0] for line in waits} == {"inference/tiles.py"}
