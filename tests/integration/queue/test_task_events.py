"""What a worker tells Flower does not hold up its loop while Redis is away."""

from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.worker.heartbeat import Heart
from kombu import Connection
from kombu.asynchronous.timer import Timer

from rigs.redis import RedisServer
from tests.support import require_rig
from workers.queueing.task_events import BatchedDispatcher


class WaitedError(BaseException):
    """Nothing that Celery catches."""


def wait(_seconds: float) -> None:
    raise WaitedError


def test_a_heartbeat_for_which_there_is_no_redis_is_kept_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with require_rig(), RedisServer(tmp_path / "redis") as server, Connection(server.url) as connection:
        dispatcher: Any = BatchedDispatcher(connection, hostname="worker-1", app=Celery())
        heart: Any = Heart(Timer(), dispatcher)
        heart.start()
        assert not dispatcher._outbound_buffer
        server.stop()
        monkeypatch.setattr("kombu.utils.functional.sleep", wait)
        heart._send("worker-heartbeat")
        assert [routing_key for _event, routing_key in dispatcher._outbound_buffer] == ["worker.heartbeat"]
