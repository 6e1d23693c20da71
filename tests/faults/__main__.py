"""Make faults and count what goes wrong; on the phantom, and on a dataset of real scans.

python -m tests.faults ROW [DATA/hippocampus] [--count N] [--seed N] [--cases N] [--only VERB …]
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
from pathlib import Path

from .clock import clock
from .disk import disk
from .kills import kills
from .pairs import pairs
from .program import Server
from .shim import compile_shim
from .signals import signals
from .workers import workers
from .workplace import CASES, Workplace

ROWS = {
    "kills": (kills, 200),
    "signals": (signals, 60),
    "disk": (disk, 120),
    "workers": (workers, 36),
    "pairs": (pairs, 26),
    "clock": (clock, 24),
}  # what makes the faults, and how many


def main() -> int:
    """Make the faults of one row, or of all; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", choices=[*ROWS, "all"])
    parser.add_argument("dataset", type=Path, nargs="?", help="in the Decathlon's layout; on the phantom, too")
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=CASES, help="of the dataset")
    parser.add_argument("--no-phantom", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], metavar="VERB")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    went_wrong = False
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder) / "programs", compile_shim(Path(folder)))
        places: list[Workplace] = []
        if asked.dataset:
            places += [Workplace(Path(folder) / "real", server, asked.dataset.resolve(), asked.cases)]
        places += [] if asked.no_phantom else [Workplace(Path(folder) / "phantom", server)]
        for place in places if asked.only else ():
            place.verbs = tuple(verb for verb in place.commands if verb in asked.only)
        for row, (make_faults, usual) in ROWS.items():
            if asked.row in (row, "all"):
                for tally in make_faults(places, asked.count or usual, random.Random(asked.seed)):
                    sys.stdout.write(tally.line() + "\n")
                    sys.stdout.flush()
                    went_wrong |= bool(tally.wrong)
        server.close()
    return int(went_wrong)


if __name__ == "__main__":
    sys.exit(main())
