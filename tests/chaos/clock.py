"""Clocks that jump: `clock.c` stands between a worker and the system's wall clock."""

from __future__ import annotations

import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rigs.process import cache_directory, find_program

if TYPE_CHECKING:
    from rigs.worker import Worker

FILE: Final = "clock"
"""In a worker's temporary folder: by how many seconds its clock is wrong."""


def wrong_clock() -> Path:
    """Build the clock that jumps, once for this checkout.

    Raises:
        RigUnavailable: there is no C compiler.
    """
    source = Path(__file__).with_name("clock.c")
    built = cache_directory("chaos") / "clock.so"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        part = built.with_suffix(f".{time.time_ns()}")
        subprocess.run([find_program("cc", "gcc"), "-shared", "-fPIC", "-O2", "-o", part, source], check=True)
        part.rename(built)
    return built


def set_clock(worker: Worker, seconds: float) -> None:
    """Let a worker's clock be wrong by so many seconds from now on."""
    path = worker.temporary / FILE
    if not path.exists():
        path.write_bytes(bytes(8))
    with path.open("r+b") as file:
        file.write(struct.pack("=q", int(seconds)))
