"""The interruption of a thread that waits in a call: by a signal, which only a process' main thread takes."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from configdrive import places

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_SIGNAL = signal.SIGUSR2
"""Celery's children take SIGUSR1 for their time limits, and nothing else uses this one."""


def interrupter() -> Callable[[int], None] | None:
    """Return what has this thread ask whether it is welcome where it is (`Visitor.require_welcome`).

    `None` where that cannot be: in the threads of a pool. What waits there waits for the limit of its call.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    signal.signal(_SIGNAL, _ask)
    return _interrupt


def _interrupt(thread: int) -> None:
    if thread == threading.main_thread().ident:
        signal.pthread_kill(thread, _SIGNAL)


def _ask(_number: int, _frame: FrameType | None) -> None:
    """Python calls this in the main thread, wherever that is: what it raises comes out of the call that waits."""
    visitor = places.current()
    if visitor is not None:
        visitor.require_welcome()
