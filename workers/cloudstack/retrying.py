"""The patience of every entry point: it goes on, gives its sign of life, and takes again what could not be taken."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import redis
from kombu.exceptions import OperationalError

from configdrive.errors import FleetError, TransientError
from workers.cloudstack.adapter import Adapter, Taken

_log: Final = logging.getLogger("configdrive.cloudstack")
_Answer = TypeVar("_Answer")

COMES_AGAIN: Final = (FleetError, redis.RedisError, OperationalError)
"""What `Adapter.take` raises. The event may be stored all the same: it is then not stored twice."""

PASSES: Final = (TransientError, redis.RedisError, OperationalError)
"""Those of them that pass without a person."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0

_LOOK_SECONDS: Final = 5.0
"""The sign is touched at least so often while an entry point waits for something that is away."""


class Life:
    """How long an entry point goes on.

    Args:
        ended: set when it is asked to end.
        sign: what a probe looks at. A CloudStack, RabbitMQ or Redis that is away is waited for, and lets it grow no
            older: a new process would not have them either.
    """

    def __init__(self, ended: threading.Event, sign: Path | None = None) -> None:
        self._ended = ended
        self._sign = sign

    def goes_on(self) -> bool:
        """Give the sign; return whether to go on. Asked each time its loop comes round."""
        if self._sign is not None:
            self._sign.touch()
        return not self._ended.is_set()

    def pause(self, seconds: float) -> None:
        """Wait so long, or until asked to end."""
        until = time.monotonic() + seconds
        while self.goes_on() and (left := until - time.monotonic()) > 0:
            self._ended.wait(min(left, _LOOK_SECONDS))


def word_of(error: BaseException) -> str:
    """Return what may be said of an error. A foreign one's text may hold a secret."""
    return str(error) if isinstance(error, FleetError) else type(error).__name__


def take(adapter: Adapter, body: bytes, *, routing_key: str = "", event_id: str | None = None) -> Taken:
    """Take a payload as `Adapter.take` does; one over which the adapter itself stumbles is a dead letter.

    It would stumble again, and hold up for ever what waits behind.
    """
    try:
        return adapter.take(body, routing_key=routing_key, event_id=event_id)
    except COMES_AGAIN:
        adapter.put_off()
        raise
    except Exception as error:  # noqa: BLE001 - it is named by its type, and its text may hold a secret
        return adapter.give_up(error)


def patiently(attempt: Callable[[], _Answer], life: Life) -> _Answer | None:
    """Try until it is taken, with growing pauses: what follows waits, so the order stays. `None`: asked to end.

    Raises:
        PermanentError: a person has to do something first.
    """
    pause = _FIRST_PAUSE
    while life.goes_on():
        try:
            return attempt()
        except PASSES as error:
            _log.warning("not taken now, again in %g s: %s", pause, word_of(error))
        life.pause(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return None
