"""What a door does about an error: a notice that could not be taken now comes again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

import redis
from kombu.exceptions import OperationalError

from configdrive.errors import FleetError, TransientError
from workers.cloudstack.adapter import Adapter, Taken
from workers.cloudstack.life import Life

_log: Final = logging.getLogger("configdrive.cloudstack")
_Answer = TypeVar("_Answer")

COMES_AGAIN: Final = (FleetError, redis.RedisError, OperationalError)
"""What `Adapter.take` raises. The event may be stored all the same: it is then not stored twice."""

PASSES: Final = (TransientError, redis.RedisError, OperationalError)
"""Those of them that pass without a person."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0


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
    except Exception as error:  # noqa: BLE001 - it is told by its type, and its text may hold a secret
        return adapter.give_up(error)


def patiently(attempt: Callable[[], _Answer], life: Life) -> _Answer | None:
    """Try until it is taken, with growing pauses: what follows waits, so the order stays. `None`: told to end.

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
