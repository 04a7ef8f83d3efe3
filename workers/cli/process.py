"""A command that goes on until it is told to end."""

from __future__ import annotations

import signal
import threading

from workers.cli import pace


def until_term() -> threading.Event:
    """Return an event that TERM sets. As process 1 of a container, Python would not die of TERM by itself."""
    pace.stay()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    return ended
