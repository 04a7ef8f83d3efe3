"""The compose file's stack, run as processes: one for all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.deploy.compose import Stack
from tests.support import require_rig, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNNING = (
    "redis",
    "worker-kvm",
    "worker-xenserver",
    "worker-vmware",
    "worker-simulated",
    "wakeup",
    "storage-sweep",
    "flower",
)


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`init` has run, and all services run and are healthy, in the order in which an engine would start them."""
    with require_rig():
        stack = Stack(tmp_path_factory.mktemp("stack"))
        stack.service("init").run()
        stack.redis()
    try:
        for name in RUNNING:
            service = stack.services.get(name) or stack.service(name)
            service.start()
            if name == "redis":
                wait_until(service.healthy, "redis to be healthy", timeout=20, interval=0.1)
        for name in RUNNING:
            service = stack.services[name]
            try:
                wait_until(service.healthy, f"{name} to be healthy", timeout=60, interval=0.2)
            except Exception as error:
                raise AssertionError(f"{error}\n{service.end_of_log}") from error
        yield stack
    finally:
        stack.stop()
