"""Tests of examinations and of prediction on a GPU that is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cuda import work
from cuda.plans import plan_with

from autoseg.imaging.grid import Box
from autoseg.inference.device_mask import painting_bytes
from autoseg.inference.tiles import Tiling
from autoseg.network.memory import tile_bytes
from autoseg.plan import Plan

TILING = Tiling(tile=(32, 32, 32), overlap=0.5)
Call = Callable[..., Any]


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_host_waits_for_a_tile_only_when_it_comes_back(on_cuda: Call, norm: str, precision: str) -> None:
    plan = plan_with(norm, precision=precision)
    waits = on_cuda(work.tiles, plan, TILING, (32, 32, 32)).waits
    assert ["to cpu" in line for line in waits] == [True]


def test_several_networks_and_mirrors_come_back_as_one(on_cuda: Call) -> None:
    plan = plan_with()
    waits = on_cuda(work.tiles, plan, TILING, (48, 32, 32), networks=2, mirrors=((), (1,))).waits
    back = [line for line in waits if "to cpu" in line]
    assert len(back) == 2  # tiles


def test_an_examination_is_read_once_a_case_and_waits_for_nothing_else(on_cuda: Call, tmp_path: Path) -> None:
    waits = on_cuda(work.examination, plan_with(), tmp_path, (32, 32, 32)).waits
    places = [line.partition(" in ")[2].partition(":")[0] for line in waits]
    assert places == ["training/validate.py"] * 2  # pairs of atoms, and loss


WHOLE, INSIDE = (slice(0, 80), slice(0, 48), slice(0, 48)), (slice(8, 72), slice(3, 40), slice(5, 45))


@pytest.mark.parametrize("box", [WHOLE, INSIDE], ids=["whole", "in a box"])
@pytest.mark.parametrize("plan", [plan_with(), plan_with("instance", precision="float32")], ids=["batch", "instance"])
def test_a_mask_is_painted_on_the_device_and_waited_for_when_all_tiles_are_done(
    on_cuda: Call, plan: Plan, box: Box
) -> None:
    waits = on_cuda(work.prediction, plan, TILING, (80, 48, 48), (160, 200, 200), box).waits
    *painted, estimates = [line.partition(" in ")[2].partition(":")[0] for line in waits]
    assert painted == ["inference/device_mask.py"] * 3  # its end; the mask, and that of the working grid
    assert estimates == "inference/calibration.py"


def test_a_tile_that_is_fetched_is_found(on_cuda: Call) -> None:
    size = ((80, 48, 48), (160, 200, 200), WHOLE)
    waits = on_cuda(work.prediction, plan_with(), TILING, *size, fault="each tile is fetched").waits
    assert any("to cpu" in line for line in waits[:1])


def test_painting_takes_no_more_memory_than_was_foreseen(on_cuda: Call) -> None:
    plan, shape, full = plan_with(), (64, 32, 32), (256, 512, 512)
    box = (slice(0, 64), slice(0, 32), slice(0, 32))
    seen = on_cuda(work.prediction, plan, TILING, shape, full, box)
    assert seen.peak - seen.before <= painting_bytes(plan.classes, 32, shape, full) + tile_bytes(
        plan, (32, 32, 32), True
    )
