"""The end of a worker that was told to end while Redis hangs.

Celery waits for its attempts, and they for Redis: a Redis that is stopped, and closes no connection, is waited for
without end. But who has not heard of Redis for as long as a lease lasts has lost its VMs: nothing that it still does
counts.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from billiard import active_children
from celery import signals
from redis import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

_log: Final = logging.getLogger(__name__)

_PAUSE_SECONDS: Final = 1.0


def end_without_redis(connect: Callable[[], redis.Redis], seconds: float) -> None:
    """Have this worker end, once it was told to, when Redis has not answered for so many seconds.

    Args:
        connect: returns a client that does not wait for long.
        seconds: a lease's length.
    """

    def begin(**_named: object) -> None:
        threading.Thread(target=_watch, args=(connect(), seconds), name="end", daemon=True).start()

    signals.worker_shutting_down.connect(begin, weak=False)


def _watch(client: redis.Redis, seconds: float) -> None:
    answered = time.monotonic()
    while time.monotonic() - answered < seconds:
        try:
            client.ping()
            answered = time.monotonic()
        except RedisError as error:
            _log.warning("told to end, and Redis does not answer: %s", type(error).__name__)
        time.sleep(_PAUSE_SECONDS)
    _log.error("Redis has not answered for %g s: ending by force, what was in work is another worker's", seconds)
    for pid in [child.pid for child in active_children()]:
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    logging.shutdown()
    os._exit(os.EX_UNAVAILABLE)
