"""pytest-celery's nodes on processes: its clusters and its `celery_setup` work unchanged, without Docker."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, Any

from pytest_celery import CeleryTestContainer
from typing_extensions import override

from rigs.process import RigError, tail

if TYPE_CHECKING:
    from rigs.redis import RedisServer
    from rigs.worker import Worker


class ProcessNode(CeleryTestContainer):  # type: ignore[misc]  # pytest-celery carries no types
    """What pytest-celery asks of a container, answered by a process. The base's constructor is not called."""

    @property
    @override
    def id(self) -> str:
        return socket.gethostname()

    @property
    @override
    def status(self) -> str:
        return "running" if self.is_running() else "exited"

    @override
    def reload(self) -> None:
        """Do nothing: a process is always looked at itself."""

    @override
    def ready(self) -> bool:
        return self.is_running()

    def is_running(self) -> bool:
        """Whether the process is there."""
        raise NotImplementedError


class RedisNode(ProcessNode):
    """The broker."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    @property
    @override
    def name(self) -> str:
        return "redis"

    @property
    @override
    def celeryconfig(self) -> dict[str, Any]:
        return {"url": self.server.url, "host_url": self.server.url}

    @override
    def is_running(self) -> bool:
        return self.server.running

    @override
    def restart(self, timeout: float = 10) -> None:
        self.server.restart()

    @override
    def kill(self, signal: str | int | None = None) -> None:
        self.server.kill()

    @override
    def logs(self) -> str:
        return tail(self.server.directory / "redis.log", 1000)

    @override
    def teardown(self) -> None:
        self.server.stop()


class WorkerNode(ProcessNode):
    """A worker of ours."""

    def __init__(self, worker: Worker, queue: str) -> None:
        self.worker = worker
        self._queue = queue

    @property
    @override
    def name(self) -> str:
        return self.worker.name

    def worker_name(self) -> str:
        """The first part of its node name; pytest-celery asks for it."""
        return self.worker.name

    def worker_queue(self) -> str:
        """The queue that it takes from; pytest-celery asks for it."""
        return self._queue

    @property
    @override
    def celeryconfig(self) -> dict[str, Any]:
        return {}

    @override
    def is_running(self) -> bool:
        return self.worker.running

    @override
    def restart(self, timeout: float = 10) -> None:
        self.worker.stop()
        self.worker.start()

    @override
    def kill(self, signal: str | int | None = None) -> None:
        if _number(signal) != _number("SIGKILL"):
            self.worker.terminate()
            self.worker.wait_ended(10)
        else:
            self.worker.kill()

    @override
    def logs(self) -> str:
        return self.worker.log

    @override
    def teardown(self) -> None:
        self.worker.kill()
        self.worker.sweep_up()


def _number(name: str | int | None) -> int:
    if isinstance(name, int):
        return name
    try:
        return signal.Signals[name or "SIGKILL"]
    except KeyError as error:
        raise RigError(f"no signal is called {name}") from error
