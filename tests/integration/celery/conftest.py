"""pytest-celery with a real redis-server and a real worker of ours, each a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pytest_celery import CeleryBrokerCluster, CeleryTestBroker, CeleryTestSetup, CeleryTestWorker, CeleryWorkerCluster
from typing_extensions import override

from tests.e2e.site import QUICK, Site
from tests.integration.celery.nodes import RedisNode, WorkerNode
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery import Celery


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
    node = RedisNode(site.redis)
    cluster = CeleryBrokerCluster(CeleryTestBroker(node, site.app))
    yield cluster
    cluster.teardown()
    node.teardown()


@pytest.fixture
def celery_backend_cluster() -> None:
    """Results go to the outcome stream, not to a result backend."""


@pytest.fixture
def celery_worker_cluster(site: Site, celery_broker_cluster: Any) -> Iterator[Any]:  # noqa: ANN401, ARG001  # untyped; needed first
    site.workers[0].start()
    node = WorkerNode(site.workers[0], "configdrive.simulated")
    cluster = CeleryWorkerCluster(CeleryTestWorker(node, site.app))
    yield cluster
    cluster.teardown()
    node.teardown()


@pytest.fixture
def celery_setup_cls(site: Site) -> type[Any]:
    """The setup's app talks to the broker as the fleet's does: with its key prefix."""

    class Setup(CeleryTestSetup):  # type: ignore[misc]  # pytest-celery carries no types
        @classmethod
        @override
        def update_app_config(cls, app: Celery) -> None:
            app.conf.update(broker_transport_options=site.app.conf.broker_transport_options)

    return Setup
