"""Ctrl-C that is not lost: inside pydantic, a KeyboardInterrupt is swallowed or comes out as another error.

Seen with pydantic 2.14: of 120 `configdrive watch` that were interrupted as they printed, two called it an unforeseen
error, and now and then one went on for ever.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

_AGAIN_SECONDS = 2.0
"""Long enough for what a command does at its end."""

_struck = False


def insist() -> None:
    """Let Ctrl-C strike again and again until `rest` is called. A worker's own handlers replace this one."""
    signal.signal(signal.SIGINT, _strike)
    signal.signal(signal.SIGALRM, _strike)


def rest() -> bool:
    """Let it strike no more; says whether it was pressed."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    return _struck


def _strike(_number: int, _frame: FrameType | None) -> NoReturn:
    global _struck  # noqa: PLW0603 - a process is interrupted once
    _struck = True
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    raise KeyboardInterrupt
