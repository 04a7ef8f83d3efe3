"""One real KVM host for all of these tests, with sshd; each test has VMs of its own, which are gone afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from configdrive.model import HostName, Place, StorageName
from rigs.libvirt import LibvirtHost
from rigs.sshd import SshServer
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.kvm.cloud import Cloud
    from workers.hypervisors.kvm.driver import KvmDriver

pytest.importorskip("libvirt")


class MakeDriver(Protocol):
    """Makes a driver with one host `h1`; keyword arguments change its table in the inventory."""

    def __call__(self, *, force_eject: bool = True, call_timeout: float = 20.0, **table: object) -> KvmDriver: ...


@pytest.fixture(scope="package")
def kvm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtHost]:
    with require_rig():
        host = LibvirtHost(tmp_path_factory.mktemp("kvm"), tls=True)
        host.start()
    yield host
    host.stop()


@pytest.fixture(scope="package")
def session_cloud(kvm: LibvirtHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    from tests.integration.kvm.cloud import Cloud  # noqa: PLC0415  # needs libvirt-python

    cloud = Cloud(kvm, "local", tmp_path_factory.mktemp("local"))
    yield cloud
    cloud.close()


@pytest.fixture
def cloud(session_cloud: Cloud) -> Iterator[Cloud]:
    """The host, with a pool `local`; VMs and other pools go after each test."""
    yield session_cloud
    assert session_cloud.host.running, "libvirtd ended by itself: see its log in the host's directory"
    session_cloud.clean()


@pytest.fixture
def home(cloud: Cloud) -> Place:
    from tests.integration.kvm.cloud import identified  # noqa: PLC0415  # needs libvirt-python

    return identified(Place(StorageName("local"), HostName("h1")), cloud.pool / "configdrive")


@pytest.fixture(scope="package")
def ssh(kvm: LibvirtHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with require_rig():
        server = SshServer(tmp_path_factory.mktemp("ssh"), within=kvm.within)
        server.start()
    yield server
    server.stop()


@pytest.fixture
def ssh_table(ssh: SshServer) -> dict[str, object]:
    return {
        "host": ssh.host,
        "port": ssh.port,
        "user": ssh.user,
        "key_file": str(ssh.key_file),
        "known_hosts": str(ssh.known_hosts),
    }


@pytest.fixture
def make_driver(kvm: LibvirtHost, tmp_path: Path) -> Iterator[MakeDriver]:
    from workers.hypervisors.kvm.driver import KvmDriver  # noqa: PLC0415  # needs libvirt-python

    made: list[KvmDriver] = []

    def make(*, force_eject: bool = True, call_timeout: float = 20.0, **table: object) -> KvmDriver:
        section = {"hosts": {"h1": {"uri": kvm.uri, "cache_directory": str(tmp_path / "cache"), **table}}}
        made.append(KvmDriver.from_inventory(section, force_eject=force_eject, call_timeout=call_timeout))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def driver(make_driver: MakeDriver) -> KvmDriver:
    return make_driver()
