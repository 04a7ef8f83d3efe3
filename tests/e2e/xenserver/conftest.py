"""A pool of two hosts and a fleet of real workers for all of these tests; each test has VMs of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from configdrive.model import HostName, Place
from rigs.fleet import Fleet
from rigs.xapi import XapiPool
from tests.e2e.xenserver.life import Life
from tests.integration.xenserver.cloud import NFS, A, B, Cloud
from tests.support import require_rig

SETTINGS = {
    "concurrency": 4,
    "attempts": 4,
    "backoff_seconds": 0.1,
    "backoff_most_seconds": 0.3,
    "wakeup_seconds": 0.2,
    "call_seconds": 10.0,
    "leftover_seconds": 0.5,
}
"""Two workers of four children: eight starts at once. An event that cannot succeed is parked within two seconds."""


class NewVm(Protocol):
    """Makes a halted VM with its root disk on a storage."""

    def __call__(self, place: Place = NFS, host: HostName = A) -> Life: ...


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with require_rig():
        pool = XapiPool(tmp_path_factory.mktemp("xapi"), (A, B))
    with pool:
        yield Cloud(pool)


@pytest.fixture(scope="package")
def fleet(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet")
    with require_rig():
        fleet = Fleet(
            directory,
            inventory(cloud, directory),
            hypervisor="xenserver",
            workers=2,
            options=["--metrics-port", "0"],
            settings=SETTINGS,
        )
    with fleet:
        yield fleet


@pytest.fixture
def new_vm(cloud: Cloud, fleet: Fleet) -> NewVm:
    def new(place: Place = NFS, host: HostName = A) -> Life:
        return Life(cloud, fleet, place, host)

    return new


def inventory(cloud: Cloud, directory: Path) -> str:
    """The inventory's text; the password stands in a file of its own."""
    secret = directory / "pool.password"
    secret.write_text(cloud.pool.password)
    secret.chmod(0o600)
    return cloud.pool.inventory_text().replace(f'"{cloud.pool.password}"', f'{{file = "{secret}"}}')
