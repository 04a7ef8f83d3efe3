"""How long a door goes on, and the sign that it does: a file that is touched as long as its loop turns."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

_LOOK_SECONDS: Final = 5.0
"""The sign is touched at least so often while a door waits for something that is away."""


class Life:
    """A door's life.

    Args:
        ended: set when it is told to end.
        sign: what a probe looks at. A CloudStack, RabbitMQ or Redis that is away is waited for, and lets it grow no
            older: a new process would not have them either.
    """

    def __init__(self, ended: threading.Event, sign: Path | None = None) -> None:
        self._ended = ended
        self._sign = sign

    def goes_on(self) -> bool:
        """Give the sign; return whether to go on. A door asks in each turn of its loop."""
        if self._sign is not None:
            self._sign.touch()
        return not self._ended.is_set()

    def pause(self, seconds: float) -> None:
        """Wait so long, or until told to end."""
        until = time.monotonic() + seconds
        while self.goes_on() and (left := until - time.monotonic()) > 0:
            self._ended.wait(min(left, _LOOK_SECONDS))
