"""Runs a target many times: every case has an end, an upper bound of time, and leaves no memory behind."""

import ctypes
import gc
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

from typing_extensions import override

from tests.fuzz.targets import Target

CASE_SECONDS = 5.0
"""CPU seconds of one case, after which it counts as hanging; the slowest took a tenth of it."""

WARM_UP = 0.25
"""The part of a run after which memory must not grow any more: by then every cache and every arena is there."""

GROWTH_BYTES = 16 * 2**20
"""What the resident memory may differ between two moments by chance."""

_trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _pad: None)
"""Gives free memory back to the system, where the C library is glibc."""


class HangError(Exception):
    """A case took too long."""


class FoundError(AssertionError):
    """A case that ended as none may; says how to give it again."""


@dataclass(frozen=True)
class Report:
    """What became of a target's cases. Times are seconds, memory bytes."""

    name: str
    cases: int
    taken: int
    seconds: float
    slowest: float
    growth: int

    @override
    def __str__(self) -> str:
        """One line of a table."""
        return (
            f"{self.name:16} {self.cases:8} {self.taken:8} {self.cases - self.taken:8} {self.seconds:8.1f}"
            f" {self.slowest * 1000:9.0f} {self.growth / 2**20:9.1f}"
        )


HEADINGS = f"{'target':16} {'cases':>8} {'taken':>8} {'refused':>8} {'CPU s':>8} {'worst ms':>9} {'grown MiB':>9}"


def run(name: str, target: Target, cases: int, seed: int, first: int = 0) -> Report:
    """Give a target its cases.

    Raises:
        FoundError: a case crashed, hung, or was taken as it must not be; or memory grew.
    """
    taken, slowest = 0, 0.0
    begun = time.process_time()
    warm = 0
    signal.signal(signal.SIGPROF, _hangs)
    for number in range(first, first + cases):
        if number == first + int(cases * WARM_UP):
            warm = _memory()
        case = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, CASE_SECONDS)
        try:
            taken += target(Random(f"{seed} {name} {number}"))  # noqa: S311 - the same each time is the point
        except Exception as error:
            again = f"make fuzz TARGET={name} SEED={seed} CASE={number}"
            raise FoundError(f"{type(error).__name__}: {str(error)[:300]}\nagain: {again}") from error
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - case)
    growth = _memory() - warm
    if growth > GROWTH_BYTES:
        raise FoundError(f"{name}: memory grew by {growth / 2**20:.0f} MiB in {cases} cases of seed {seed}")
    return Report(name, cases, taken, time.process_time() - begun, slowest, growth)


def _hangs(_signal: int, _frame: FrameType | None) -> None:
    raise HangError(f"took more than {CASE_SECONDS} s of CPU time")


def _memory() -> int:
    """Return the resident memory of this process, without what waits to be collected or used again."""
    gc.collect()
    _trim(0)  # or what was freed before the run hides as much growth
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
