"""The compose file's stack, run as processes: one for all tests."""

from collections.abc import Iterator

import pytest

from tests.integration.deploy.compose import Stack, begun
from tests.support import wait_until

RUNNING = ("worker-kvm", "worker-simulated", "wakeup", "storage-sweep", "flower")
"""Beside Redis; the workers for the other hypervisors are started by words that differ in their name alone."""


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`init` has run, and all services run and are healthy, in the order in which an engine would start them."""
    with begun(tmp_path_factory.mktemp("stack")) as stack:
        for name in RUNNING:
            stack.service(name).start()
        for name in RUNNING:
            service = stack.services[name]
            try:
                wait_until(service.healthy, f"{name} to be healthy", timeout=60, interval=0.5)
            except Exception as error:
                raise AssertionError(f"{error}\n{service.end_of_log}") from error
        yield stack
