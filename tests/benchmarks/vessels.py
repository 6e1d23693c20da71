"""A dataset of phantoms with thin vessels on a fine grid, to measure what a second stage gains there.

    python -m tests.benchmarks.vessels FOLDER --cases 20
    autoseg plan FOLDER RUN --stages 2

About 130 slices of 270 x 370 voxels of 1.5 x 0.8 x 0.8 mm; artery and vein are trees of 3 to 8 mm that branch. All
seven organs are there; the aorta is bright, but no artery.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from autoseg.machine import usable_cores
from autoseg.phantom.cohort import write_cohort
from autoseg.phantom.scan import Detail

FINER = (2, 3)  # slices, rows and columns: 1.5 and 0.8 mm


def main() -> None:
    asked = argparse.ArgumentParser(description="Write phantoms with thin vessels to FOLDER.")
    asked.add_argument("folder", type=Path)
    asked.add_argument("--cases", type=int, default=20)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("-j", "--jobs", type=int, default=usable_cores())
    asked.add_argument("--finer", type=int, nargs=2, default=FINER, help="times the usual slices, rows and columns")
    given = asked.parse_args()
    slices, columns = given.finer
    detail = Detail(has_thin_vessels=True, finer=(slices, columns))
    write_cohort(given.folder, given.cases, given.seed, given.jobs, detail=detail)
    sys.stdout.write(f"{given.folder}: {given.cases} phantoms with thin vessels\n")


if __name__ == "__main__":
    main()
