"""Two KVM hosts and a fleet of real workers for all of these tests; each test has a VM of its own."""

from collections.abc import Iterator

import pytest

pytest.importorskip("libvirt")

from rigs.fleet import Fleet
from rigs.libvirt import LibvirtHost
from tests.e2e.kvm.moving import Moving, NewVm
from tests.e2e.kvm.site import ALONE, Site
from tests.support import require_rig

QUICK = {
    "concurrency": 2,
    "attempts": 3,
    "backoff_seconds": 0.1,
    "backoff_most_seconds": 0.2,
    "wakeup_seconds": 0.2,
    "resend_seconds": 2,
    "leftover_seconds": 1,
}
"""Settings with which an event that cannot succeed is parked within a second, and a host that is back soon noticed."""


@pytest.fixture(scope="package")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    storages = tmp_path_factory.mktemp("storages")
    private = Site.private_paths(storages)
    with require_rig():
        first, second = (
            LibvirtHost(tmp_path_factory.mktemp(name), name, private=private) for name in ("kvm-1", "kvm-2")
        )
        first.start()
    with first, second:
        site = Site(storages, (first, second))
        yield site
        site.close()


@pytest.fixture(scope="package")
def fleet(hosts: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with require_rig():
        fleet = Fleet(
            tmp_path_factory.mktemp("fleet"),
            hosts.inventory,
            hypervisor="kvm",
            options=["--metrics-port", "0"],
            settings=QUICK,
        )
    with fleet:
        yield fleet


@pytest.fixture
def new_vm(hosts: Site, fleet: Fleet) -> NewVm:
    return lambda root: Moving(hosts, fleet, hosts.directory / root)


@pytest.fixture(scope="module")
def other_name(hosts: Site) -> Iterator[str]:
    """Another name that a pool has on h2, whose directory is that of `alone`: CloudStack calls each by a uuid."""
    hosts.hosts["h2"].define_pool("another-name", hosts.directory / ALONE)
    yield "another-name"
    hosts.clouds["h2"].drop_pool("another-name")
