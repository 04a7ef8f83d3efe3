"""pytest-celery on a redis-server and a worker of ours, each a process: its `celery_setup` works without Docker."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pytest_celery import (
    CeleryBrokerCluster,
    CeleryTestBroker,
    CeleryTestContainer,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
)
from typing_extensions import override

from rigs.redis import RedisServer
from rigs.worker import Worker
from tests.e2e.site import QUICK, Site
from tests.support import require_rig


class ProcessNode(CeleryTestContainer):  # type: ignore[misc]  # pytest-celery carries no types
    """What pytest-celery asks of a container, answered by a process, which the site ends.

    The base's constructor is not called.
    """

    def __init__(self, process: RedisServer | Worker, name: str) -> None:
        self.process = process
        self._name = name

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    @override
    def id(self) -> str:
        return socket.gethostname()

    @property
    @override
    def status(self) -> str:
        return "running" if self.process.running else "exited"

    @override
    def reload(self) -> None:
        """Do nothing: a process is always looked at itself."""

    @override
    def ready(self) -> bool:
        return self.process.running

    @override
    def restart(self, timeout: float = 10) -> None:
        self.process.stop()
        self.process.start()

    @override
    def kill(self, signal: str | int | None = None) -> None:
        assert signal == "SIGKILL"
        self.process.kill()

    @override
    def teardown(self) -> None:
        """Do nothing: the site ends all its processes."""


class RedisNode(ProcessNode):
    """The broker."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server, "redis")
        self.server = server

    @property
    @override
    def celeryconfig(self) -> dict[str, Any]:
        return {"url": self.server.url, "host_url": self.server.url}


class WorkerNode(ProcessNode):
    """A worker of ours."""

    celeryconfig: dict[str, Any] = {}  # noqa: RUF012 - a property of the base

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker, worker.name)
        self.worker = worker

    def worker_name(self) -> str:
        return self.worker.name

    def worker_queue(self) -> str:
        return "configdrive.simulated"

    @override
    def logs(self) -> str:
        return self.worker.log


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A fleet of which nothing is started: that is the clusters' business."""
    with require_rig():
        site = Site(tmp_path, workers=1, settings=QUICK)
    yield site
    site.stop()


@pytest.fixture
def celery_broker_cluster(site: Site) -> Iterator[Any]:
    site.redis.start()
    cluster = CeleryBrokerCluster(CeleryTestBroker(RedisNode(site.redis), site.app))
    yield cluster
    cluster.teardown()


@pytest.fixture
def celery_backend_cluster() -> None:
    """Results go to the outcome stream, not to a result backend."""


@pytest.fixture
def celery_worker_cluster(site: Site, celery_broker_cluster: Any) -> Iterator[Any]:  # noqa: ANN401, ARG001  # untyped; needed first
    site.workers[0].start()
    cluster = CeleryWorkerCluster(CeleryTestWorker(WorkerNode(site.workers[0]), site.app))
    yield cluster
    cluster.teardown()


@pytest.fixture
def celery_setup_cls(site: Site) -> type[Any]:
    """The setup's app talks to the broker as the fleet's does: with its key prefix."""

    class Setup(CeleryTestSetup):  # type: ignore[misc]  # as above
        @classmethod
        @override
        def update_app_config(cls, app: Celery) -> None:
            app.conf.update(broker_transport_options=site.app.conf.broker_transport_options)

    return Setup
