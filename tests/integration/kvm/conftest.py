"""One real KVM host for all of these tests, with sshd; each test has VMs of its own, which are gone afterwards."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.kvm.cloud import open_cloud

pytest.importorskip("libvirt")

from configdrive.model import Place
from rigs.libvirt import LibvirtHost
from rigs.sshd import SshServer
from tests.integration.kvm.cloud import Cloud, MakeDriver, Mount, Tables, identified, on_h1
from tests.support import require_rig
from workers.hypervisors.kvm.driver import KvmDriver


@pytest.fixture(scope="package")
def session_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with open_cloud(tmp_path_factory.mktemp("kvm"), tls=True) as cloud:
        yield cloud


@pytest.fixture(scope="package")
def kvm(session_cloud: Cloud) -> LibvirtHost:
    return session_cloud.host


@pytest.fixture
def cloud(session_cloud: Cloud) -> Iterator[Cloud]:
    """The host, with a pool `local`; VMs and other pools go after each test."""
    yield session_cloud
    assert session_cloud.host.running, "libvirtd ended by itself: see its log in the host's directory"
    session_cloud.clean()


@pytest.fixture
def home(cloud: Cloud) -> Place:
    return identified(on_h1("local"), cloud.pool / "configdrive")


@pytest.fixture
def mount(cloud: Cloud) -> Iterator[Mount]:
    """Mounts memory on the host until the end, also as a network export: libvirt takes it for that one then."""
    mounted: list[Path] = []

    def new(path: Path, options: str, source: str = "memory") -> None:
        path.mkdir(parents=True)
        subprocess.run(cloud.host.within(["mount", "-t", "tmpfs", "-o", options, source, str(path)]), check=True)
        mounted.append(path)

    yield new
    for path in mounted:
        subprocess.run(cloud.host.within(["umount", "-l", str(path)]), check=False, capture_output=True)


@pytest.fixture(scope="package")
def ssh(kvm: LibvirtHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with require_rig():
        server = SshServer(tmp_path_factory.mktemp("ssh"), within=kvm.within)
        server.start()
    yield server
    server.stop()


@pytest.fixture
def ssh_table(ssh: SshServer) -> dict[str, object]:
    return ssh.table


@pytest.fixture
def make_driver(kvm: LibvirtHost, tmp_path: Path) -> Iterator[MakeDriver]:
    made: list[KvmDriver] = []

    def make(*, call_timeout: float = 20.0, hosts: Tables | None = None, **table: object) -> KvmDriver:
        section = {"hosts": hosts or {"h1": {"uri": kvm.uri, "cache_directory": str(tmp_path / "cache"), **table}}}
        made.append(KvmDriver.from_inventory(section, call_timeout=call_timeout))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def driver(make_driver: MakeDriver) -> KvmDriver:
    return make_driver()
