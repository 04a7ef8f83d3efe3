"""One KVM host, a fleet with a real worker, and a Debian with our package on its root disk."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rigs.fleet import Fleet
from rigs.guest.debian import DebianGuest
from rigs.libvirt import LibvirtHost
from tests.support import find_program, require_rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.guest.vm import DebianVm

pytest.importorskip("libvirt")

PACKAGES = Path(__file__).parents[3] / "guest" / "linux" / "packages.sh"
POOL = "primary"


@pytest.fixture(scope="package")
def guest() -> DebianGuest:
    with require_rig():
        return DebianGuest.prepare()


@pytest.fixture(scope="package")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of our own Debian package, built now."""
    with require_rig():
        find_program("dpkg-deb", "dpkg")
    directory = tmp_path_factory.mktemp("packages")
    subprocess.run([PACKAGES, directory], check=True, capture_output=True, timeout=600)
    return directory


@pytest.fixture(scope="package")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtHost]:
    with require_rig():
        host = LibvirtHost(tmp_path_factory.mktemp("kvm"))
        host.start()
    with host:
        host.define_pool(POOL, tmp_path_factory.mktemp(POOL))
        yield host


@pytest.fixture(scope="package")
def fleet(host: LibvirtHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    inventory = f"[kvm.hosts.h1]\nuri = {json.dumps(host.uri)}\n"
    with require_rig():
        fleet = Fleet(tmp_path_factory.mktemp("fleet"), inventory, hypervisor="kvm")
    with fleet:
        yield fleet


@pytest.fixture
def vm(
    host: LibvirtHost, fleet: Fleet, guest: DebianGuest, package: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DebianVm]:
    """A VM that is defined and off; our package is installed on its root disk."""
    from tests.e2e.guest.vm import DebianVm  # noqa: PLC0415  # needs libvirt-python

    with require_rig():
        vm = DebianVm(host, fleet, guest, package, tmp_path_factory.mktemp("c") / "tty")
    yield vm
    vm.close()
