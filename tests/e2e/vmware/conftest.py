"""A vCenter with two datacenters and a fleet of real workers for all of these tests; each test has VMs of its own."""

from collections.abc import Iterator
from contextlib import closing
from typing import Protocol

import pytest

from rigs.fleet import Fleet
from tests.support import require_rig

pytest.importorskip("pyVmomi")

from rigs.vcsim.cloud import Cloud
from rigs.vcsim.server import VCenter
from tests.e2e.vmware.life import Life

CONCURRENCY = 4
SETTINGS = {
    "concurrency": CONCURRENCY,
    "attempts": 4,
    "backoff_seconds": 0.1,
    "backoff_most_seconds": 0.3,
    "wakeup_seconds": 0.2,
    "lease_seconds": 4.0,
    "resend_seconds": 1.0,
    "leftover_seconds": 1.0,
    "orphan_seconds": 0.1,
    "call_seconds": 10.0,
}
"""An event that cannot succeed is parked within two seconds."""

HOSTS: dict[str, dict[str, object]] = {
    "h1": {"esxi": "esx-01"},
    "h2": {"esxi": "esx-02"},
    "in-folders": {"esxi": "esx-03", "placement": "folder"},
    "in-directories": {"esxi": "esx-04", "placement": "vm-directory"},
    "cluster-01": {"cluster": "cluster-01"},
    "cluster-02": {"cluster": "cluster-02"},
    "everything": {},
}
"""As the documentation and the example have them, they overlap."""


class NewVm(Protocol):
    """Makes a halted VM on a host with its root disk on a datastore."""

    def __call__(self, datastore: str = "shared", host: str = "h1") -> Life: ...


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    every = ("esx-01", "esx-02", "esx-03", "esx-04")
    datastores: dict[str, tuple[str, ...]] = dict.fromkeys(("shared", "other", "vsan", "vsan-2"), every)
    datastores |= {"local-1": every[:1], "local-2": every[1:2], "DC1/shared": ("esx-11",)}
    clusters = {("DC0", "cluster-01"): every, ("DC1", "cluster-02"): ("esx-11",)}
    with require_rig():
        center = VCenter(tmp_path_factory.mktemp("vcsim"), datastores, clusters=clusters, vsan=("vsan", "vsan-2"))
    with center, closing(Cloud(center)) as opened:
        yield opened


@pytest.fixture
def center(cloud: Cloud) -> VCenter:
    return cloud.center


@pytest.fixture(scope="package")
def fleet(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet")
    with require_rig():
        fleet = Fleet(
            directory,
            cloud.center.inventory_text(HOSTS),
            hypervisor="vmware",
            options=["--metrics-port", "0"],
            settings=SETTINGS,
        )
    with fleet:
        yield fleet


@pytest.fixture
def new_vm(cloud: Cloud, fleet: Fleet) -> NewVm:
    def new(datastore: str = "shared", host: str = "h1") -> Life:
        return Life(cloud, fleet, datastore, host=host, esxi=str(HOSTS[host].get("esxi", "esx-01")))

    return new
