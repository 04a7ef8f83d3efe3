"""Scripts whose answer counts only when replicas have what they wrote: `WAIT` behind the script, on its connection.

A failover takes what a replica had. What was answered before and had not reached one would be lost: an event that its
publisher believes stored, or a lease, so that two workers have the same VM under the same epoch.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import redis
from redis.exceptions import NoScriptError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.commands.core import Script

_ONE_WAIT_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
_MARK_MS = 1000
_NOT_YET = ("NOREPLICAS", "READONLY", "MASTERDOWN")
"""What a master without its replicas, and a replica, answer for the moment of a failover."""

Call = tuple[list[str], list[Any]]
"""Keys and arguments of one call of a script."""


class NotReplicatedError(redis.RedisError):
    """Too few replicas had it when the time was over. It may be stored all the same: ask again, nothing is doubled."""


class Confirmed:
    """Runs a script, or many calls of it in one round trip; with `replicas`, until so many have it.

    A script is asked again under the same arguments, so each has to answer the same when it is asked twice.

    Args:
        client: the connections.
        replicas: how many; 0: the server's own answer is enough.
        seconds: how long to try.
        mark: a key that is written before each `WAIT`: it waits for what this connection has written, and a script that
            was asked again writes nothing.
    """

    def __init__(self, client: redis.Redis, *, replicas: int, seconds: float, mark: str) -> None:
        self._redis = client
        self._replicas = replicas
        self._seconds = seconds
        self._mark = mark

    def one(self, script: Script, call: Call) -> Any:  # noqa: ANN401 - redis-py types no script's answer
        """Call a script.

        Raises:
            NotReplicatedError: fewer replicas than wanted had it in time.
        """
        if not self._replicas:
            return script(keys=call[0], args=call[1])
        return self.many(script, [call])[0]

    def many(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Call a script many times, in order.

        Raises:
            NotReplicatedError: as `one`.
        """
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                answers = self._round(script, calls)
            except NoScriptError:
                pass  # a Redis that was restarted, or another master: the next round brings the script
            except ResponseError as error:
                if not self._replicas or not str(error).startswith(_NOT_YET) or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                if not self._replicas or answers.pop() >= self._replicas:
                    return answers[: len(calls)]
                if time.monotonic() > deadline:
                    raise NotReplicatedError(f"fewer than {self._replicas} replicas have it")
                # It may be a master of old: ask the Sentinels again. What other threads are at is left alone.
                self._redis.connection_pool.disconnect(inuse_connections=False)

    def _round(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for keys, args in calls:
            script(keys=keys, args=args, client=pipeline)
        if self._replicas:
            pipeline.set(self._mark, 1, px=_MARK_MS)
            pipeline.wait(self._replicas, round(_ONE_WAIT_SECONDS * 1000))
        found: list[Any] = pipeline.execute()
        return found
