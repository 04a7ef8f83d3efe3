"""Waits whose limit follows the machine's measured speed: a second of a quiet machine lasts longer on a busy one."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final, TypeVar

from rigs.process import RigError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

NEVER_HANGS: Final = 24 * 3600
"""For pytest's own limit: these waits end by themselves."""

_ROUNDS: Final = 400_000
_QUIET: Final = 0.2
"""Seconds that the work of `slowness` takes on a machine of 2020 that does nothing else."""


def slowness() -> float:
    """Measure how many times longer than a quiet machine this one takes now: at least 1."""
    began = time.monotonic()
    hashlib.pbkdf2_hmac("sha256", b"pace", b"", _ROUNDS)
    return max(1.0, (time.monotonic() - began) / _QUIET)


def wait_until(probe: Callable[[], T | None], what: str, *, timeout: float, interval: float = 2.0) -> T:
    """Call `probe` until it answers something true, and return that answer.

    Args:
        probe: is asked again and again; what it raises is not caught.
        what: ends the sentence "waited for ...".
        timeout: seconds of a quiet machine.
        interval: seconds between two questions; the pace is measured between them.

    Raises:
        RigError: the time is over.
    """
    left, began = timeout, time.monotonic()
    while not (answer := probe()):
        if left < 0:
            raise RigError(
                f"waited {time.monotonic() - began:.0f} s, which are {timeout:g} s of a quiet machine, for {what}"
            )
        asked, pace = time.monotonic(), slowness()
        time.sleep(interval)
        left -= (time.monotonic() - asked) / pace
    return answer
