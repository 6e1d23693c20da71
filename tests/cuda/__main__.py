"""Counted memory beside what is alive on a GPU that is not there: python -m tests.cuda, a table in Markdown."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.gpu_plans import DICE_CE, FLAT, fat, lean, paper, recipe
from cuda import work
from cuda.process import call, compile_guard, start

from autoseg.inference.tiles import Tiling
from autoseg.machine import GIB
from autoseg.network.memory import tile_bytes, training_bytes

RESIDUAL = lean((96, 96, 96), 2)
PLANS = {
    "the paper's, 3×64³, 8 classes": recipe(),
    "the same, 12×64³": paper(12),
    "the same, 3×64³, float32": paper(3).model_copy(update={"precision": "float32"}),
    **{f"2×96³, 32, {norm} norm": lean((96, 96, 96), 2, 32, norm) for norm in ("batch", "instance", "group")},
    "2×96³, 32, group norm, float32": lean((96, 96, 96), 2, 32, "group").model_copy(update={"precision": "float32"}),
    "2×96³, 32, residual": RESIDUAL.model_copy(
        update={"network": RESIDUAL.network.model_copy(update={"kind": "residual"})}
    ),
    "2×128³, 32, Dice and cross-entropy": fat(),
    "2×64³, 32, partial labels": lean((64, 64, 64), 2).model_copy(
        update={"loss": DICE_CE.model_copy(update={"partial": True})}
    ),
    "8×40×56×40, 32": lean((40, 56, 40), 8),
    "16×64³, 32": lean((64, 64, 64), 16),
    "2×16×320×320 of 3.6×0.6×0.6 mm, 32": lean((16, 320, 320), 2, spacing=FLAT),
    "2×128³, 32, four channels": lean((128, 128, 128), 2, channels=4),
    "2×96³, 8": lean((96, 96, 96), 2, 8),
    "2×256³, 16": lean((256, 256, 256), 2, 16),
}


def row(name: str, counted: int, peak: int) -> str:
    """Return a row of the table."""
    return f"| {name} | {counted / GIB:.3f} | {peak / GIB:.3f} | {counted / peak - 1:+.1%} |"


def main() -> None:
    """Print the table."""
    print("| step, or tile of one crop's size | counted GiB | peak GiB | difference |\n|---|---|---|---|")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        library = compile_guard(Path(folder))
        if isinstance(library, str):
            raise SystemExit(library)
        with start(library) as process:
            for name, plan in PLANS.items():
                plan = plan.model_copy(update={"device": "cuda"})
                if plan.precision == "auto":
                    plan = plan.model_copy(update={"precision": "bfloat16"})
                bfloat16, tile = plan.precision == "bfloat16", plan.crop_size
                hidden = (1,) if plan.loss.partial else ()
                peak = process.submit(call, work.step, plan, hidden).result().peak
                print(row(name, training_bytes(plan, bfloat16), peak), flush=True)  # noqa: T201
                peak = process.submit(call, work.tiles, plan, Tiling(tile=tile, overlap=0.5), tile).result().peak
                print(row(f"{name}: tile", tile_bytes(plan, tile, bfloat16), peak), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
