"""The library that programs load first, so that reading and writing fails and the clock goes back; see shim.c."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

NUMBERS = struct.Struct("3l")


def compile_shim(folder: Path) -> Path | None:
    """Return the library, None where there is no compiler or the system has other calls."""
    library, compiler = folder / "shim.so", shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source = Path(__file__).with_name("shim.c")
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    return None if subprocess.run(command, capture_output=True).returncode else library


class Shared:
    """What the library counts, and the clock that it shows."""

    def __init__(self, file: Path) -> None:
        """Begin with no operation, and the right clock."""
        file.write_bytes(NUMBERS.pack(0, 0, 0))
        self.file = file
        with file.open("rb+") as stream:
            self._numbers = mmap.mmap(stream.fileno(), NUMBERS.size)

    def operations(self) -> dict[str, int]:
        """Return how often files were written and read, by kind."""
        writes, reads, _ = NUMBERS.unpack(self._numbers[:])
        return {"write": writes, "read": reads}

    def reset(self, late_s: int = 0) -> None:
        """Count from 0 again; set the clock back by `late_s`."""
        self._numbers[:] = NUMBERS.pack(0, 0, late_s)

    def set_back(self, late_s: int) -> None:
        """Set the clock back by `late_s`, while programs run."""
        self._numbers[2 * NUMBERS.size // 3 :] = struct.pack("l", late_s)
