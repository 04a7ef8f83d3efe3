"""Connections that lose a reply on the way: redis-py asks again, as it does on a real network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from typing_extensions import override

from tests.mailboxes import Store


@dataclass
class Loss:
    """Loses the next reply, and lets something happen before the question is asked again."""

    between: Callable[[], object] | None = None
    armed: bool = False
    lost: int = 0

    def next(self, between: Callable[[], object] | None = None) -> None:
        self.armed, self.between = True, between

    def take(self) -> bool:
        armed, self.armed = self.armed, False
        self.lost += armed
        return armed


def lossy_pool(url: str, loss: Loss) -> redis.ConnectionPool:
    """Return connections to a server that lose replies when told so."""

    class LossyConnection(redis.Connection):
        @override
        def read_response(self, *args: Any, **named: Any) -> Any:
            answer = super().read_response(*args, **named)
            if loss.take():
                self.disconnect()  # type: ignore[no-untyped-call]
                if loss.between is not None:
                    loss.between()
                message = "the reply was lost"
                raise redis.ConnectionError(message)
            return answer

    return redis.ConnectionPool.from_url(
        url, connection_class=LossyConnection, retry=Retry(NoBackoff(), 3), socket_timeout=60
    )


def teach(store: Store, client: redis.Redis) -> None:
    """Have the server know all scripts, and the client a connection: the next reply is that to the next question."""
    for script in (store.mailbox._put, *store.mailbox._scripts.values()):
        client.script_load(script.script)
